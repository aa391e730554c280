"""Reads and writes the control topic: one partition, compacted, no consumer group."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.core.records import SourceRecord
from streamlabel.consumer.kafka.clients import ask_client, ends_well
from streamlabel.consumer.kafka.connection import connection_options
from streamlabel.consumer.kafka.errors import mapped
from streamlabel.consumer.kafka.partition_scan import Scanner
from streamlabel.consumer.kafka.producer import start_producer, stop_producer
from streamlabel.consumer.kafka.reaching import reaching
from streamlabel.consumer.kafka.topic_reader import watch
from streamlabel.consumer.kafka.topics import find_topics
from streamlabel.errors import BrokerError, ConfigError

__all__ = ["ControlTopic", "members_of"]

_TIMEOUT_S: Final = 30.0
_CLOSE_TIMEOUT_S: Final = 5.0
_AGAIN_S: Final = 5.0

_log = structlog.get_logger(__name__)


class ControlTopic:
    """The control topic of a cluster.

    Args:
        kafka: which cluster.
        topic: its name.
        clock: for the time at which records were read.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, clock: Clock) -> None:
        self._kafka = kafka
        self._topic = topic
        self._clock = clock

    async def ensure(self) -> None:
        """Create it if it is missing and ``kafka.create_topics`` is true.

        Raises:
            ConfigError: it is missing, or has several partitions, which would have no order.
            BrokerError: the brokers cannot be reached, or refuse.
        """
        found = await find_topics(self._kafka, [self._topic])
        if self._topic not in found:
            if not self._kafka.create_topics:
                raise ConfigError(
                    f"control.topic: {self._topic} does not exist: create it with one partition and"
                    " cleanup.policy=compact, or set kafka.create_topics: true"
                )
            await self._create()
        elif found[self._topic].partitions != 1:
            raise ConfigError(
                f"control.topic: {self._topic} has {found[self._topic].partitions} partitions, and"
                " must have one: deployments need an order"
            )

    async def _create(self) -> None:
        admin = AIOKafkaAdminClient(**await connection_options(self._kafka))
        topic = NewTopic(
            self._topic,
            1,
            self._kafka.replication_factor,
            topic_configs={"cleanup.policy": "compact"},
        )
        with mapped(f"creating {self._topic}"):
            await admin.start()
            try:
                await admin.create_topics([topic])
            finally:
                await admin.close()

    async def stored(self) -> Sequence[SourceRecord]:
        """Return all records that it has now, in order.

        Raises:
            BrokerError: it cannot be read.
        """
        scanner = Scanner(self._kafka, self._topic, self._clock)
        end = await scanner.end(0)
        return [record async for record in scanner.records(0, until=end)]

    async def follow(self) -> AsyncGenerator[SourceRecord, None]:
        """Yield all records, and those that come, without end.

        A topic that cannot be read, or does not exist any more, is logged and read again later:
        the present models keep working. Records are yielded again after a new connection.
        """
        while True:
            try:
                records = watch(self._kafka, self._topic, from_start=True, clock=self._clock)
                async with aclosing(records):
                    async for record in records:
                        yield record
            except (BrokerError, ConfigError) as error:
                _log.warning("control_topic_unreadable", topic=self._topic, why=str(error))
                await self._clock.sleep(_AGAIN_S)

    async def publish(self, key: bytes, value: bytes) -> None:
        """Write a record; return when all in-sync replicas have it.

        Raises:
            BrokerError: it was not written.
        """
        producer = await start_producer(self._kafka, timeout_s=_TIMEOUT_S)
        try:
            with mapped(f"writing to {self._topic}"):
                await producer.send_and_wait(self._topic, value, key=key, partition=0)
        finally:
            await stop_producer(producer)


async def members_of(kafka: KafkaSettings) -> int:
    """Return the number of members of ``kafka.group_id``; 0 if the group is empty or unknown.

    Raises:
        BrokerError: the cluster cannot be reached, or refuses.
    """
    admin = AIOKafkaAdminClient(**await connection_options(kafka))

    async def ask() -> int:
        await admin.start()
        [response] = await admin.describe_consumer_groups([kafka.group_id])
        # a group is a tuple: error code, name, state, protocol type, protocol, members, ...
        return sum(len(group[5]) for group in response.groups)

    async def close() -> None:
        await ends_well(admin.close(), timeout_s=_CLOSE_TIMEOUT_S)

    async with reaching(kafka, f"looking for the members of {kafka.group_id}"):
        async with asyncio.timeout(_TIMEOUT_S):
            return await ask_client(ask(), stop=close)
