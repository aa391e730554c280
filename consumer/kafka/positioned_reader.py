"""Reads topics from positions that the caller stores, without a consumer group."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.core.records import Position, SourceRecord, TopicPartition
from streamlabel.consumer.kafka.aiokafka_internals.group import client_of
from streamlabel.consumer.kafka.clients import start_client, stop_consumer
from streamlabel.consumer.kafka.connection import connection_options
from streamlabel.consumer.kafka.errors import mapped
from streamlabel.consumer.kafka.passwords import keep_password
from streamlabel.consumer.kafka.reaching import reaching
from streamlabel.consumer.kafka.topics import ensure_topics
from streamlabel.errors import BrokerError

__all__ = ["Moved", "PositionedReader"]

_TIMEOUT_S: Final = 30.0


class Moved(NamedTuple):
    """A position that a topic does not have (any more).

    Attributes:
        before: the stored position.
        after: where reading continues.
        why: ``expired``: retention has deleted records; ``recreated``: the topic is another one.
    """

    partition: TopicPartition
    before: int
    after: int
    why: str


class PositionedReader:
    """Reads the committed records of topics from given positions.

    Args:
        kafka: which cluster; missing topics are created if ``create_topics`` is true.
        topics: which.
        clock: for ``received_at_s``.
    """

    def __init__(self, kafka: KafkaSettings, topics: Sequence[str], clock: Clock) -> None:
        self._kafka = kafka
        self._topics = tuple(topics)
        self._clock = clock
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions = 0

    async def start(self, positions: Mapping[TopicPartition, int]) -> Sequence[Moved]:
        """Connect and seek; partitions without a position are read from the beginning.

        Returns:
            Positions that are not there any more, and where reading continues instead.

        Raises:
            ConfigError: a topic is missing.
            BrokerError: the brokers cannot be reached, or refuse.
        """
        found = await ensure_topics(self._kafka, self._topics)
        places = [
            KafkaPartition(name, number)
            for name, topic in found.items()
            for number in range(topic.partitions)
        ]
        self._partitions = len(places)
        options = await connection_options(self._kafka)
        consumer = AIOKafkaConsumer(
            **options,
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="none",  # what disappears while we read is found at the next start
            fetch_max_bytes=self._kafka.fetch_max_bytes,
            max_partition_fetch_bytes=self._kafka.max_partition_fetch_bytes,
        )
        keep_password(client_of(consumer), self._kafka.security, options.get("sasl_plain_password"))
        doing = f"reading {', '.join(self._topics)}"
        async with reaching(self._kafka, doing), asyncio.timeout(_TIMEOUT_S):
            await start_client(consumer.start(), stop=partial(stop_consumer, consumer))
        self._consumer = consumer
        with mapped(doing):
            async with asyncio.timeout(_TIMEOUT_S):
                consumer.assign(places)
                first = await consumer.beginning_offsets(places)
                end = await consumer.end_offsets(places)
        moved = []
        for place in places:
            partition = TopicPartition(place.topic, place.partition)
            stored = positions.get(partition)
            offset = first[place] if stored is None else stored
            if stored is not None and not first[place] <= stored <= end[place]:
                offset = first[place]
                why = "expired" if stored < offset else "recreated"
                moved.append(Moved(partition, stored, offset, why))
            consumer.seek(place, offset)
        return moved

    async def read(self, *, timeout_s: float, max_records: int) -> Sequence[SourceRecord]:
        """Return the next records, in order per partition; none if there are none in time.

        Raises:
            BrokerError: start again: also if partitions were added, or a position disappeared.
        """
        consumer = self._consumer
        if consumer is None:
            raise RuntimeError("start() comes first. This is a bug.")
        known = sum(len(consumer.partitions_for_topic(name) or ()) for name in self._topics)
        if known > self._partitions:
            raise BrokerError(f"{', '.join(self._topics)}: there are new partitions", True)
        with mapped(f"reading {', '.join(self._topics)}"):
            fetched = await consumer.getmany(
                timeout_ms=round(timeout_s * 1000), max_records=max_records
            )
        now_s = self._clock.now_s()
        return [_as_ours(record, now_s) for records in fetched.values() for record in records]

    async def close(self) -> None:
        """Close all connections; it may be started again."""
        if self._consumer is not None:
            await stop_consumer(self._consumer)
            self._consumer = None


def _as_ours(record: Any, now_s: float) -> SourceRecord:  # noqa: ANN401 aiokafka has no types
    return SourceRecord(
        Position(record.topic, record.partition, record.offset),
        record.key,
        record.value,
        tuple(record.headers),
        record.timestamp,
        now_s,
    )
