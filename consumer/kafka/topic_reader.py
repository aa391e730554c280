"""Reads new records of a topic without a consumer group: ``streamlabel tail``."""

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.core.records import Position, SourceRecord
from streamlabel.consumer.kafka.aiokafka_internals.group import client_of
from streamlabel.consumer.kafka.clients import start_client, stop_consumer
from streamlabel.consumer.kafka.connection import connection_options
from streamlabel.consumer.kafka.errors import mapped
from streamlabel.consumer.kafka.passwords import keep_password
from streamlabel.consumer.kafka.topics import find_topics
from streamlabel.errors import ConfigError

__all__ = ["watch"]

_CONNECT_TIMEOUT_S: Final = 15.0
_POLL_MS: Final = 500
_POLL_ITEMS: Final = 500


async def watch(
    kafka: KafkaSettings, topic: str, *, from_start: bool, clock: Clock
) -> AsyncGenerator[SourceRecord, None]:
    """Yield the records of a topic as they arrive, in offset order per partition, without end.

    Nothing is committed and no group is joined. Only committed transactions are read.

    Args:
        kafka: which cluster; no topic is created.
        topic: which topic.
        from_start: start with the oldest record; else with the first new one.
        clock: for ``received_at_s``.

    Raises:
        ConfigError: the topic is missing.
        BrokerError: the brokers cannot be reached, or refuse.
    """
    found = await find_topics(kafka, [topic])
    if topic not in found:
        raise ConfigError(
            f"topic {topic} does not exist, or this user may not see it; the service creates it at"
            " its first start if kafka.create_topics is true"
        )
    numbers = range(found[topic].partitions)
    options = await connection_options(kafka)
    consumer = AIOKafkaConsumer(
        **options,
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        # if retention has deleted the position meanwhile
        auto_offset_reset="earliest",
        fetch_max_wait_ms=_POLL_MS,
        fetch_max_bytes=kafka.fetch_max_bytes,
        max_partition_fetch_bytes=kafka.max_partition_fetch_bytes,
    )
    keep_password(client_of(consumer), kafka.security, options.get("sasl_plain_password"))
    with mapped(f"reading {topic}"):
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            await start_client(consumer.start(), stop=partial(stop_consumer, consumer))
    try:
        with mapped(f"reading {topic}"):
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                partitions = [KafkaPartition(topic, number) for number in numbers]
                consumer.assign(partitions)
                # both decide the positions now, not at the first fetch
                seek = consumer.seek_to_beginning if from_start else consumer.seek_to_end
                await seek(*partitions)
        while True:
            with mapped(f"reading {topic}"):
                fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_ITEMS)
            now_s = clock.now_s()
            for records in fetched.values():
                for record in records:
                    yield _as_ours(record, now_s)
    finally:
        await stop_consumer(consumer)


def _as_ours(record: Any, now_s: float) -> SourceRecord:  # noqa: ANN401 aiokafka has no types
    return SourceRecord(
        Position(record.topic, record.partition, record.offset),
        record.key,
        record.value,
        tuple(record.headers),
        record.timestamp,
        now_s,
    )
