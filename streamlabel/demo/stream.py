"""The clients of the demo's service: a producer of texts and a reader of the outputs."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from streamlabel.config.settings import Settings
from streamlabel.consumer.output.headers import OURS
from streamlabel.demo.samples import Sample
from streamlabel.demo.tally import Answer, Route

__all__ = [
    "Post", "Posted", "committed_records", "read_answers", "read_until", "read_verdicts",
    "send_all",
]  # fmt: skip

_ID_HEADER: Final = "demo-id"  # passed through, even for records that cannot be decoded
_READ_S = 0.1
_MEMBERS = 23  # number of users who post; their id is the key


class Posted:
    """The records sent to the input topic, with their times (monotonic seconds)."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = {sample.id: sample for sample in samples}
        self.at_s: dict[str, float] = {}


class Post:
    """Sends samples to the input topic."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, posted: Posted) -> None:
        self._producer = producer
        self._topic = topic
        self._posted = posted

    @classmethod
    @asynccontextmanager
    async def to(cls, settings: Settings, posted: Posted) -> AsyncIterator["Post"]:
        """Connect to the input topic of ``settings`` for as long as the context lasts."""
        producer = AIOKafkaProducer(
            bootstrap_servers=settings.kafka.bootstrap_servers, acks="all", linger_ms=0
        )
        await producer.start()
        try:
            yield cls(producer, settings.input.topic, posted)
        finally:
            await producer.stop()

    async def at_a_pace(self, samples: Sequence[Sample], *, per_s: float) -> None:
        """Send a few at a time, like a live stream."""
        for few in _in_threes(samples):
            began_s = time.monotonic()
            await self.at_once(few)
            await asyncio.sleep(max(0.0, len(few) / per_s - (time.monotonic() - began_s)))

    async def at_once(self, samples: Sequence[Sample]) -> None:
        """Send all of them without a pause; return when the broker has acknowledged them."""
        acknowledged = []
        for sample in samples:
            self._posted.at_s[sample.id] = time.monotonic()
            acknowledged.append(
                await self._producer.send(
                    self._topic,
                    value=sample.value,
                    key=f"member-{sum(sample.id.encode()) % _MEMBERS}".encode(),
                    headers=[(_ID_HEADER, sample.id.encode())],
                )
            )
        await asyncio.gather(*acknowledged)


def _in_threes(samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
    for start in range(0, len(samples), 3):
        yield samples[start : start + 3]


async def read_answers(
    settings: Settings,
    posted: Posted,
    on_answer: Callable[[Answer], None],
    *,
    partitions: Mapping[str, int],
) -> None:
    """Read labels, review and dead letters until cancelled.

    ``partitions`` is the number of partitions by topic.
    """
    routes: dict[str, Route] = {
        settings.output.labels_topic: "label",
        settings.output.review_topic: "review",
        settings.output.dead_letter_topic: "dead letter",
    }
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap_servers,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=50,  # this wait is part of the latencies that the demo shows
    )
    await consumer.start()
    try:
        consumer.assign(
            [TopicPartition(topic, p) for topic in routes for p in range(partitions[topic])]
        )
        while True:
            batches = await consumer.getmany(timeout_ms=int(_READ_S * 1000))
            now_s = time.monotonic()
            for partition, records in batches.items():
                for record in records:
                    on_answer(_answer(record, routes[partition.topic], posted, now_s))
    finally:
        await consumer.stop()


def _answer(record: Any, route: Route, posted: Posted, now_s: float) -> Answer:  # noqa: ANN401 aiokafka is untyped
    headers = dict(record.headers)
    sample = posted.samples[headers[_ID_HEADER].decode()]
    latency_s = now_s - posted.at_s[sample.id]
    if route == "dead letter":
        reason = headers[OURS + "error-reason"].decode()
        message = headers[OURS + "error-message"].decode()
        return Answer(sample, route, None, None, f"{reason}: {message}", latency_s)
    message = json.loads(record.value)
    why = ", ".join(message["reasons"])
    return Answer(sample, route, message["label"], message["confidence"], why, latency_s)


async def send_all(
    settings: Settings, records: Sequence[tuple[bytes, Sequence[tuple[str, bytes | None]]]]
) -> None:
    """Send values with their headers to the input topic; return when they are acknowledged."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka.bootstrap_servers, acks="all", linger_ms=5
    )
    await producer.start()
    try:
        topic = settings.input.topic
        sent = [await producer.send(topic, value, headers=headers) for value, headers in records]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def read_until(
    settings: Settings,
    partitions: Mapping[str, int],
    take: Callable[[Any], None],
    *,
    is_done: Callable[[], bool],
) -> None:
    """Give each record of these topics to ``take``, until it is done and nothing more comes."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap_servers,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        consumer.assign(
            [TopicPartition(topic, p) for topic, count in partitions.items() for p in range(count)]
        )
        while True:
            batches = await consumer.getmany(timeout_ms=int(_READ_S * 1000))
            if is_done() and not batches:
                return
            for record in (record for records in batches.values() for record in records):
                take(record)
    finally:
        await consumer.stop()


async def read_verdicts(
    settings: Settings, on_value: Callable[[bytes], None], *, partitions: int
) -> None:
    """Read the verdicts topic from its beginning until cancelled; tombstones are left out."""
    topic = settings.output.verdicts_topic
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap_servers,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        # the embedded broker is librdkafka's mock cluster, whose version 2.16 writes the marker of
        # a committed transaction with a wrong checksum; those of our records are right
        check_crcs=False,
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, number) for number in range(partitions)])
        while True:
            for records in (await consumer.getmany(timeout_ms=int(_READ_S * 1000))).values():
                for record in records:
                    if record.value is not None:
                        on_value(record.value)
    finally:
        await consumer.stop()


async def committed_records(settings: Settings, *, partitions: Mapping[str, int]) -> int:
    """Return how many records of the input the group has committed."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap_servers,
        group_id=settings.kafka.group_id,
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        topic = settings.input.topic
        mine = [TopicPartition(topic, number) for number in range(partitions[topic])]
        consumer.assign(mine)
        return sum([await consumer.committed(each) or 0 for each in mine])
    finally:
        await consumer.stop()
