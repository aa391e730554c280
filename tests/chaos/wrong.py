"""Services that are wrong on purpose: the negative controls of the chaos runs.

``python -m tests.chaos.wrong VARIANT -c CONFIG`` is ``streamlabel run -c CONFIG`` with one wrong
port. A verifier that does not catch them has proved nothing about the right ones.
"""

import asyncio
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from unittest.mock import patch

from aiokafka import AIOKafkaProducer

from streamlabel.__main__ import main
from streamlabel.config.kafka import KafkaSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer import service
from streamlabel.consumer.kafka import KafkaSink, KafkaSource, TransactionalSink
from streamlabel.consumer.kafka_producer import abandon, start_producer
from streamlabel.consumer.ports import Clock, Outbound, RecordSink, RecordSource
from streamlabel.consumer.records import SourceRecord, TopicPartition

__all__ = ["WRONG"]


class CommitsBeforeItSends(KafkaSource):
    """Commits what it has read, as ``enable.auto.commit`` does: a crash loses what is in flight."""

    async def poll(self, *, max_items: int, timeout_s: float) -> Sequence[SourceRecord]:
        """Read and commit."""
        records = await super().poll(max_items=max_items, timeout_s=timeout_s)
        offsets = {each.position.topic_partition: each.position.offset + 1 for each in records}
        await super().commit(offsets)
        return records

    async def commit(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Done already."""


class OneTransactionalId(TransactionalSink):
    """One transactional producer for all partitions, with an id of its own per process.

    What most services do. Nobody fences it when its partitions go elsewhere.
    """

    def __init__(
        self, kafka: KafkaSettings, topics: Sequence[str], *, transaction_timeout_ms: int
    ) -> None:
        super().__init__(kafka, topics, transaction_timeout_ms=transaction_timeout_ms)
        self._only: AIOKafkaProducer | None = None
        self._turn = asyncio.Lock()  # one transaction at a time

    async def _fence(self, partition: TopicPartition) -> None:
        async with self._turn:
            if self._only is None:
                self._only = await start_producer(
                    self._kafka,
                    timeout_s=self._timeout_s,
                    transactional_id=f"{self._kafka.group_id}-{uuid.uuid4()}",
                    transaction_timeout_ms=self._transaction_timeout_ms,
                )
            self._producers[partition] = self._only

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Let the partitions go; the producer stays."""
        for partition in partitions:
            self._producers.pop(partition, None)

    async def deliver(
        self, partition: TopicPartition, outbounds: Sequence[Outbound], next_offset: int
    ) -> None:
        """One partition after the other."""
        async with self._turn:
            await super().deliver(partition, outbounds, next_offset)

    async def _drop(self, partition: TopicPartition, producer: AIOKafkaProducer) -> None:
        self._only = None
        self._producers.clear()
        await abandon(producer)


Ports = Callable[[Settings, Clock], tuple[RecordSource, RecordSink]]


def _source(kind: type[KafkaSource], settings: Settings, clock: Clock) -> KafkaSource:
    revoke_timeout_s = settings.delivery.revoke_timeout_s
    return kind(settings.kafka, settings.input, clock, revoke_timeout_s=revoke_timeout_s)


def _topics(settings: Settings) -> tuple[str, ...]:
    output = settings.output
    return output.labels_topic, output.review_topic, output.dead_letter_topic


def _commit_before_send(settings: Settings, clock: Clock) -> tuple[RecordSource, RecordSink]:
    source = _source(CommitsBeforeItSends, settings, clock)
    return source, KafkaSink(settings.kafka, _topics(settings))


def _one_id_per_process(settings: Settings, clock: Clock) -> tuple[RecordSource, RecordSink]:
    timeout_ms = settings.delivery.transaction_timeout_ms
    sink = OneTransactionalId(settings.kafka, _topics(settings), transaction_timeout_ms=timeout_ms)
    return _source(KafkaSource, settings, clock), sink


WRONG: Mapping[str, Ports] = {
    "commit-before-send": _commit_before_send,
    "one-id-per-process": _one_id_per_process,
}

if __name__ == "__main__":
    variant = sys.argv.pop(1)
    sys.argv.insert(1, "run")
    with patch.object(service, "open_ports", WRONG[variant]):
        main()
