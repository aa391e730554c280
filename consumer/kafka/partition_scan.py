"""Reads a partition from its beginning to the end that it has at the start."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka import errors as kafka_errors

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.core.records import Position, SourceRecord, TopicPartition
from streamlabel.consumer.kafka.clients import start_client, stop_consumer
from streamlabel.consumer.kafka.connection import connection_options
from streamlabel.consumer.kafka.errors import mapped
from streamlabel.consumer.kafka.record_batch_parser import read_undecodable
from streamlabel.errors import BrokerError

__all__ = ["Scanner"]

_CONNECT_TIMEOUT_S: Final = 15.0
_POLL_MS: Final = 250
_POLL_ITEMS: Final = 500
# How long an unfinished transaction may block reading: brokers abort it after its timeout, 15
# minutes at most by default, and check for timeouts every 10 s.
_STALLED_S: Final = 120.0


class Scanner:
    """Reads partitions of one topic, committed records only; joins no group."""

    def __init__(self, kafka: KafkaSettings, topic: str, clock: Clock) -> None:
        self._kafka = kafka
        self._topic = topic
        self._clock = clock

    async def end(self, partition: int) -> int:
        """Return the end of a partition, including records of open transactions.

        ``records`` up to here waits for these transactions; otherwise it would miss records that
        others have committed after the first record of an open transaction.
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
            BrokerError: no answer, or an open transaction blocked reading for two minutes.
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
                            f"{self._topic}-{partition} could not be read beyond offset"
                            f" {position} for {_STALLED_S:g} s: a transaction is open, or the"
                            " partition has no leader; try again later",
                            True,
                        )

    async def _fetch(
        self, consumer: AIOKafkaConsumer, at: KafkaPartition, position: int
    ) -> list[SourceRecord]:
        try:
            fetched = await consumer.getmany(at, timeout_ms=_POLL_MS, max_records=_POLL_ITEMS)
        except (UnicodeDecodeError, kafka_errors.CorruptRecordException):
            # a record has a header name that is not UTF-8; see ``record_batch_parser``
            found = await read_undecodable(
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
            auto_offset_reset="earliest",  # if retention has deleted the position meanwhile
            fetch_max_wait_ms=_POLL_MS,
            fetch_max_bytes=self._kafka.fetch_max_bytes,
            max_partition_fetch_bytes=self._kafka.max_partition_fetch_bytes,
        )
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            await start_client(consumer.start(), stop=partial(stop_consumer, consumer))
        try:
            yield consumer
        finally:
            await stop_consumer(consumer)


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
