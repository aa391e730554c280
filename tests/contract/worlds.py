"""Places where records come from and outputs go to, seen from outside: one per implementation."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from threading import Thread
from typing import Protocol

from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.protocol.group import LeaveGroupRequest
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as Place

from streamlabel.config.kafka import InputSettings, KafkaSettings
from streamlabel.consumer.core.ports import RecordSink, RecordSource
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.kafka.open_ports import KafkaSink, KafkaSource
from streamlabel.consumer.testing.memory_ports import MemoryBroker, MemorySink, MemorySource
from streamlabel.demo.broker import EmbeddedBroker
from streamlabel.models.core.system_clock import SystemClock
from testing.kafka_broker import Cluster

__all__ = ["EmbeddedWorld", "MemoryWorld", "RealWorld", "World"]


class World(Protocol):
    """One input topic ``texts`` and one output topic ``labels``, of two partitions at least."""

    texts: str
    labels: str

    def source(self, *, start_at: str = "earliest") -> RecordSource:
        """A new member of the group."""
        ...

    def sink(self) -> RecordSink:
        """A new sink."""
        ...

    def produce(self, values: Iterable[bytes], partition: int = 0) -> None:
        """Append to the input."""
        ...

    def written(self) -> Sequence[tuple[int, bytes | None, bytes | None]]:
        """(partition, key, value) of all outputs, in order per partition."""
        ...

    def committed(self, partition: int = 0) -> int | None:
        """The group's next offset."""
        ...

    def expel_paused(self, member: RecordSource) -> None:
        """Let this process stand still until the group has given the member's partitions away."""
        ...


class MemoryWorld:
    """The doubles."""

    texts, labels = "texts", "labels"

    def __init__(self) -> None:
        self.broker = MemoryBroker(partitions=2)

    def source(self, *, start_at: str = "earliest") -> RecordSource:
        """A new member of the group."""
        return MemorySource(self.broker, self.texts, SystemClock())

    def sink(self) -> RecordSink:
        """A new sink."""
        return MemorySink(self.broker, limits={self.labels: 2000})

    def produce(self, values: Iterable[bytes], partition: int = 0) -> None:
        """Append to the input."""
        for value in values:
            self.broker.append(self.texts, value, partition=partition)

    def written(self) -> Sequence[tuple[int, bytes | None, bytes | None]]:
        """All outputs."""
        outputs = self.broker.written(self.labels)
        return sorted(
            ((o.position.partition % 2, o.key, o.value) for o in outputs), key=lambda o: o[0]
        )

    def committed(self, partition: int = 0) -> int | None:
        """The group's next offset."""
        return self.broker.committed.get(TopicPartition(self.texts, partition))

    def expel_paused(self, member: RecordSource) -> None:
        """The double is told."""
        assert isinstance(member, MemorySource)
        member.expel()


class RealWorld:
    """Apache Kafka."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.texts = cluster.topic("texts", partitions=2)
        self.labels = cluster.topic("labels", partitions=2, max_message_bytes=2200)
        self.settings = KafkaSettings(
            bootstrap_servers=cluster.bootstrap,
            group_id=self.texts,
            heartbeat_interval_ms=500,
            session_timeout_ms=6000,
        )

    def source(self, *, start_at: str = "earliest") -> RecordSource:
        """A new member of the group."""
        inputs = InputSettings.model_validate({"topic": self.texts, "start_at": start_at})
        return KafkaSource(self.settings, inputs, SystemClock(), revoke_timeout_s=5)

    def sink(self) -> RecordSink:
        """A new sink."""
        return KafkaSink(self.settings, [self.labels])

    def produce(self, values: Iterable[bytes], partition: int = 0) -> None:
        """Append to the input."""
        self.cluster.produce(self.texts, list(values), partition=partition)

    def written(self) -> Sequence[tuple[int, bytes | None, bytes | None]]:
        """All outputs."""
        return [(m.partition(), m.key(), m.value()) for m in self.cluster.read(self.labels)]

    def committed(self, partition: int = 0) -> int | None:
        """The group's next offset."""
        return self.cluster.committed(self.settings.group_id, self.texts, partition)

    def expel_paused(self, member: RecordSource) -> None:
        """Somebody says in its name that it leaves."""
        _expel_paused(member, self.settings)


class EmbeddedWorld:
    """librdkafka's mock cluster: the demo's broker."""

    texts, labels = "texts", "labels"

    def __init__(self, broker: EmbeddedBroker) -> None:
        for topic in (self.texts, self.labels):
            broker.create_topic(topic)
        self.bootstrap = broker.bootstrap_servers
        self.settings = KafkaSettings(
            bootstrap_servers=self.bootstrap,
            max_request_bytes=2200,
            heartbeat_interval_ms=500,
            session_timeout_ms=6000,
        )

    def source(self, *, start_at: str = "earliest") -> RecordSource:
        """A new member of the group."""
        inputs = InputSettings.model_validate({"topic": self.texts, "start_at": start_at})
        return KafkaSource(self.settings, inputs, SystemClock(), revoke_timeout_s=5)

    def sink(self) -> RecordSink:
        """A new sink."""
        return KafkaSink(self.settings, [self.labels])

    def produce(self, values: Iterable[bytes], partition: int = 0) -> None:
        """Append to the input."""
        producer = Producer({"bootstrap.servers": self.bootstrap})
        for value in values:
            producer.produce(self.texts, value=value, partition=partition)
        assert producer.flush(10) == 0

    def written(self) -> Sequence[tuple[int, bytes | None, bytes | None]]:
        """All outputs."""
        found: list[tuple[int, bytes | None, bytes | None]] = []
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "reader",
                "enable.partition.eof": True,
                "log_level": 0,
            }
        )
        for number in range(2):
            consumer.assign([Place(self.labels, number, 0)])
            while (message := consumer.poll(10)) is not None and message.error() is None:
                found.append((number, message.key(), message.value()))
        consumer.close()
        return found

    def committed(self, partition: int = 0) -> int | None:
        """The group's next offset."""
        group = self.settings.group_id
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group})
        [found] = consumer.committed([Place(self.texts, partition)], timeout=10)
        consumer.close()
        return None if found.offset < 0 else int(found.offset)

    def expel_paused(self, member: RecordSource) -> None:
        """Somebody says in its name that it leaves."""
        _expel_paused(member, self.settings)


def _expel_paused(member: RecordSource, kafka: KafkaSettings) -> None:
    """Take a member out of its group while this thread, and so its event loop, stands still."""
    assert isinstance(member, KafkaSource)
    coordinator = member._running._coordinator
    request = LeaveGroupRequest(kafka.group_id, coordinator.member_id)
    leaving = Thread(
        target=lambda: asyncio.run(_leave(kafka.bootstrap_servers, kafka.group_id, request))
    )
    leaving.start()
    leaving.join()
    time.sleep(3 * kafka.heartbeat_interval_ms / 1000)  # the last answer is no longer fresh


async def _leave(bootstrap: str, group: str, request: LeaveGroupRequest) -> None:
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    try:
        node = await client.coordinator_lookup(CoordinationType.GROUP, group)
        await client.ready(node, group=ConnectionGroup.COORDINATION)
        answer = await client.send(node, request, group=ConnectionGroup.COORDINATION)
        assert answer.error_code == 0
    finally:
        await client.close()
