"""Reads a partition from its beginning to its present end, and stops there."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka import errors as kafka_errors

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.kafka_connection import connection_options
from streamlabel.consumer.kafka_errors import mapped
from streamlabel.consumer.kafka_salvage import salvage
from streamlabel.consumer.ports import Clock
from streamlabel.consumer.records import Position, SourceRecord, TopicPartition
from streamlabel.errors import BrokerError

__all__ = ["Scanner"]

_CONNECT_TIMEOUT_S: Final = 15.0
_POLL_MS: Final = 250
_POLL_ITEMS: Final = 500
# What a transaction that nobody finishes may take: brokers abort it after its timeout, 15 minutes
# at most by their default, and look for such every 10 s.
_STALLED_S: Final = 120.0


class Scanner:
    """Reads partitions of one topic, committed records only; joins no group."""

    def __init__(self, kafka: KafkaSettings, topic: str, clock: Clock) -> None:
        self._kafka = kafka
        self._topic = topic
        self._clock = clock

    async def end(self, partition: int) -> int:
        """Return the end of a partition, what open transactions wrote included.

        ``records`` up to here waits for these transactions: what was committed beside one of them
        would be missing otherwise.
        """
        at = KafkaPartition(self._topic, partition)
        with mapped(f"looking for the end of {self._topic}"):
            async with self._consumer("read_uncommitted") as consumer:
                ends: dict[KafkaPartition, int] = await consumer.end_offsets([at])
        return ends[at]

    async def records(
        self, partition: int, *, until: int, since: int = 0
    ) -> AsyncGenerator[SourceRecord, None]:
        """Yield the records of a partition below the offset ``until``, in order.

        Raises:
            BrokerError: no answer, or an open transaction held them up for two minutes.
        """
        at = KafkaPartition(self._topic, partition)
        with mapped(f"reading {self._topic}"):
            async with self._consumer("read_committed") as consumer:
                consumer.assign([at])
                await consumer.seek_to_beginning(at)
                position = max(await consumer.position(at), since)
                consumer.seek(at, position)
                moved_s = self._clock.now_s()
                while position < until:
                    for record in await self._fetch(consumer, at, position):
                        if record.position.offset < until:
                            yield record
                    now_s, before = self._clock.now_s(), position
                    position = await consumer.position(at)
                    moved_s = now_s if position > before else moved_s
                    if now_s - moved_s > _STALLED_S:
                        raise BrokerError(
                            f"nothing of {self._topic}-{partition} could be read beyond offset"
                            f" {position} for {_STALLED_S:g} s: a transaction is open there, or the"
                            " partition has no leader; try again later",
                            True,
                        )

    async def _fetch(
        self, consumer: AIOKafkaConsumer, at: KafkaPartition, position: int
    ) -> list[SourceRecord]:
        try:
            fetched = await consumer.getmany(at, timeout_ms=_POLL_MS, max_records=_POLL_ITEMS)
        except (UnicodeDecodeError, kafka_errors.CorruptRecordException):
            # a stranger's record with a header name that is not UTF-8; see ``kafka_salvage``
            found = await salvage(
                await connection_options(self._kafka),
                {at: position},
                max_bytes=self._kafka.max_partition_fetch_bytes,
            )
            consumer.seek(at, found[at].next_offset)
            return [record.at(at, self._clock.now_s()) for record in found[at].records]
        now_s = self._clock.now_s()
        return [_as_ours(record, now_s) for records in fetched.values() for record in records]

    @asynccontextmanager
    async def _consumer(self, isolation_level: str) -> AsyncGenerator[AIOKafkaConsumer, None]:
        consumer = AIOKafkaConsumer(
            **await connection_options(self._kafka),
            group_id=None,
            enable_auto_commit=False,
            isolation_level=isolation_level,
            auto_offset_reset="earliest",  # a position that retention has deleted meanwhile
            fetch_max_wait_ms=_POLL_MS,
            fetch_max_bytes=self._kafka.fetch_max_bytes,
            max_partition_fetch_bytes=self._kafka.max_partition_fetch_bytes,
        )
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await consumer.start()
            yield consumer
        finally:
            await consumer.stop()


def _as_ours(record: Any, now_s: float) -> SourceRecord:  # noqa: ANN401 aiokafka has no types
    place = TopicPartition(record.topic, record.partition)
    return SourceRecord(
        Position(*place, record.offset),
        record.key,
        record.value,
        tuple(record.headers),
        record.timestamp,
        now_s,
    )
