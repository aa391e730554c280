"""Outputs that a topic's own rules refuse: the same outcome at both guarantees, on a real Kafka."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.produce import ProduceRequest

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.core.ports import Outbound, RecordSink
from streamlabel.consumer.core.records import Position, TopicPartition
from streamlabel.consumer.kafka.open_ports import KafkaSink, TransactionalSink
from streamlabel.errors import BrokerError, OutputRefusedError, PartitionLostError
from streamlabel.models.core.system_clock import SystemClock
from testing.kafka_broker import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

in_thread = asyncio.to_thread  # the helpers of the cluster block
KEYLESS = "INVALID_RECORD (87); a compacted topic accepts no record without a key"


@pytest.fixture(params=["at_least_once", "exactly_once"])
def guarantee(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def opened(
    cluster: Cluster, guarantee: str, at: TopicPartition, *topics: str
) -> AsyncIterator[RecordSink]:
    settings = KafkaSettings(
        bootstrap_servers=cluster.bootstrap, group_id=at.topic, request_timeout_ms=10_000
    )
    sink: RecordSink = KafkaSink(settings, topics)
    if guarantee == "exactly_once":
        sink = TransactionalSink(settings, topics, transaction_timeout_ms=20_000)
    await sink.start()
    await sink.assigned([at])
    try:
        yield sink
    finally:
        await sink.stop()


async def deliver(
    sink: RecordSink, at: TopicPartition, outbounds: Sequence[Outbound], next_offset: int
) -> dict[int, str]:
    """Deliver as the pipeline does, leaving out what is refused; return offset -> why."""
    left, refused = list(outbounds), dict[int, str]()
    while True:
        try:
            await sink.deliver(at, left, next_offset)
        except OutputRefusedError as error:
            gone = {*error.written, *error.refused}
            for index, why in error.refused.items():
                assert why.reason == "output_refused"
                refused[left[index].position.offset] = why.message
            left = [outbound for index, outbound in enumerate(left) if index not in gone]
        except BrokerError as error:
            if not error.retriable:
                raise
        else:
            return refused


def outputs(topic: str, at: TopicPartition, keys: Sequence[bytes | None]) -> list[Outbound]:
    return [
        Outbound(topic, key, b"%d" % offset, (), Position(*at, offset))
        for offset, key in enumerate(keys)
    ]


async def offsets(cluster: Cluster, topic: str) -> list[int]:
    return [int(message.value()) for message in await in_thread(cluster.read, topic)]


async def check_offset(cluster: Cluster, guarantee: str, at: TopicPartition, expected: int) -> None:
    if guarantee == "exactly_once":
        assert await in_thread(cluster.committed, at.topic, at.topic) == expected


async def test_keyless_outputs_of_a_compacted_topic_are_named_and_keyed_ones_written_once(
    kafka: Cluster, guarantee: str
) -> None:
    at = TopicPartition(kafka.topic("texts"), 0)
    labels, review = kafka.topic("labels", cleanup_policy="compact"), kafka.topic("review")
    keys = [None if n in {7, 40, 41, 99} else b"k%d" % n for n in range(100)]
    async with opened(kafka, guarantee, at, labels, review) as sink:
        more = [Outbound(review, None, b"%d" % n, (), Position(*at, n)) for n in range(5)]
        refused = await deliver(sink, at, [*outputs(labels, at, keys), *more], 100)
        await sink.deliver(at, [Outbound(labels, b"k", b"100", (), Position(*at, 100))], 101)
    assert refused == {
        n: f"{labels} refuses its output: {KEYLESS}" for n, key in enumerate(keys) if key is None
    }
    assert await offsets(kafka, labels) == [*(n for n in range(100) if keys[n]), 100]
    assert await offsets(kafka, review) == [0, 1, 2, 3, 4]
    await check_offset(kafka, guarantee, at, 101)


@pytest.mark.parametrize(
    ("rule", "hours"), [("after", 2), ("before", -2)], ids=["clock ahead", "clock behind"]
)
async def test_an_output_whose_time_the_topic_refuses_is_named(
    kafka: Cluster, guarantee: str, rule: str, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = TopicPartition(kafka.topic("texts"), 0)
    limit: dict[str, Any] = {f"message_timestamp_{rule}_max_ms": 3_600_000}
    labels = kafka.topic("labels", **limit)
    append = BatchBuilder.append

    def off(self: BatchBuilder, *, value: bytes, **fields: Any) -> object:  # noqa: ANN401 as it is
        if value == b"3":
            fields["timestamp"] = SystemClock().epoch_ms() + hours * 3_600_000
        return append(self, value=value, **fields)

    monkeypatch.setattr(BatchBuilder, "append", off)
    async with opened(kafka, guarantee, at, labels) as sink:
        refused = await deliver(sink, at, outputs(labels, at, [None] * 6), 6)
    assert list(refused) == [3]
    assert "INVALID_TIMESTAMP (32); its time is too far from the broker's" in refused[3]
    assert await offsets(kafka, labels) == [0, 1, 2, 4, 5]
    await check_offset(kafka, guarantee, at, 6)


def answering(
    monkeypatch: pytest.MonkeyPatch, code: Callable[[bytes], int], *, writes: bool = False
) -> None:
    """Let the broker answer with a code of the test's to batches, and write them or not."""
    send = AIOKafkaClient.send

    async def answered(self: AIOKafkaClient, node: int, request: object, **more: Any) -> object:  # noqa: ANN401 as it is
        if isinstance(request, ProduceRequest):
            [(topic, [(partition, buffer)])] = request._topics
            if number := code(bytes(buffer)):
                if writes:
                    await send(self, node, request, **more)
                answer = [(topic, [(partition, number, -1, -1, 0)])]
                return SimpleNamespace(API_VERSION=7, topics=answer)
        return await send(self, node, request, **more)

    monkeypatch.setattr(AIOKafkaClient, "send", answered)


@pytest.mark.parametrize("code", [44, 87, 500, -1, 30_000])
async def test_an_answer_that_nobody_knows_costs_one_record(
    kafka: Cluster, guarantee: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = TopicPartition(kafka.topic("texts"), 0)
    labels = kafka.topic("labels")
    answering(monkeypatch, lambda batch: code if b"forbidden" in batch else 0)
    keys = [b"forbidden" if n in {0, 5, 19} else None for n in range(20)]
    async with opened(kafka, guarantee, at, labels) as sink:
        refused = await deliver(sink, at, outputs(labels, at, keys), 20)
    assert list(refused) == [0, 5, 19]
    assert all(f"({code})" in why for why in refused.values())
    assert await offsets(kafka, labels) == [n for n in range(20) if keys[n] is None]
    await check_offset(kafka, guarantee, at, 20)


async def test_an_accident_with_an_unknown_answer_refuses_nothing(
    kafka: Cluster, guarantee: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = TopicPartition(kafka.topic("texts"), 0)
    labels = kafka.topic("labels")
    answers = iter([500])
    answering(monkeypatch, lambda _: next(answers, 0))
    async with opened(kafka, guarantee, at, labels) as sink:
        assert await deliver(sink, at, outputs(labels, at, [None]), 1) == {}
    assert await offsets(kafka, labels) == [0]


async def test_what_was_written_in_spite_of_its_answer_is_not_doubled_exactly_once(
    kafka: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = TopicPartition(kafka.topic("texts"), 0)
    labels = kafka.topic("labels")
    answering(monkeypatch, lambda batch: -1 if b"forbidden" in batch else 0, writes=True)
    keys = [b"forbidden" if n == 2 else None for n in range(5)]
    async with opened(kafka, "exactly_once", at, labels) as sink:
        assert list(await deliver(sink, at, outputs(labels, at, keys), 5)) == [2]
        await deliver(sink, at, outputs(labels, at, [None] * 5)[:1], 6)
    assert await offsets(kafka, labels) == [0, 1, 3, 4, 0]


async def test_a_search_shuts_no_newer_owner_out(
    kafka: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = TopicPartition(kafka.topic("texts"), 0)
    labels = kafka.topic("labels", cleanup_policy="compact")
    async with (
        opened(kafka, "exactly_once", at, labels) as old,
        opened(kafka, "exactly_once", at, labels) as new,  # ``assigned`` shuts the old one out
    ):
        with pytest.raises(PartitionLostError, match="transaction failed"):
            await old.deliver(at, outputs(labels, at, [b"k", None]), 2)
        assert list(await deliver(new, at, outputs(labels, at, [b"k", None]), 2)) == [1]
    assert await offsets(kafka, labels) == [0]
    await check_offset(kafka, "exactly_once", at, 2)
