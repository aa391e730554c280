"""Services that are wrong on purpose: the negative controls of the chaos runs.

``python -m testing.chaos.wrong VARIANT -c CONFIG`` is ``streamlabel run -c CONFIG`` with one wrong
port. A verifier that does not catch them has proved nothing about the right ones.
"""

import asyncio
import sys
import uuid
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from aiokafka import AIOKafkaProducer

from streamlabel.__main__ import main
from streamlabel.config.kafka import KafkaSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer import service
from streamlabel.consumer.core.ports import Clock, Outbound, RecordSink, RecordSource
from streamlabel.consumer.core.records import SourceRecord, TopicPartition
from streamlabel.consumer.delivery.start_position import Edge, beginning
from streamlabel.consumer.kafka import start_offsets as kafka_beginning
from streamlabel.consumer.kafka import topic_watch as kafka_topic_watch
from streamlabel.consumer.kafka.open_ports import (
    KafkaSink,
    KafkaSource,
    TransactionalSink,
    open_ports,
)
from streamlabel.consumer.kafka.producer import abandon, start_producer

__all__ = ["WRONG"]

_ANSWER_WITHIN_S = 2.0


class CommitsBeforeItSends(KafkaSource):
    """Commits what it has read, as ``enable.auto.commit`` does: a crash loses what is in flight."""

    async def poll(
        self, *, max_items: int, timeout_s: float, held: Container[TopicPartition] = ()
    ) -> Sequence[SourceRecord]:
        """Read and commit."""
        records = await super().poll(max_items=max_items, timeout_s=timeout_s, held=held)
        offsets = {each.position.topic_partition: each.position.offset + 1 for each in records}
        await super().commit(offsets)
        return records

    async def commit(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Done already."""


class NeverAsksTheGroup(KafkaSource):
    """Takes every partition that it once had for its own, as most services do.

    One that asks gives up what it has under way as soon as it wakes up, which hides what its sink
    would have done.
    """

    async def still_owns(self, partition: TopicPartition) -> bool:
        """Of course."""
        del partition
        return True


class CommitsRecordsOnly(KafkaSource):
    """Commits behind records, as most services do, and not behind what stands after the last."""

    def positions(self) -> Mapping[TopicPartition, int]:
        """Nothing to add to the records."""
        return {}


class TakesLateAnswersForFailures(KafkaSink):
    """Writes again with another producer what is not answered in time."""

    async def _write_batch(self, partition: TopicPartition, batch: Sequence[Outbound]) -> None:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            await super()._write_batch(partition, batch)


class OneKeyForAll(KafkaSink):
    """Gives all outputs the same key."""

    async def deliver(
        self, partition: TopicPartition, outbounds: Sequence[Outbound], next_offset: int
    ) -> None:
        """Deliver them under another key."""
        same = [replace(outbound, key=b"same") for outbound in outbounds]
        await super().deliver(partition, same, next_offset)


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

    async def _drop(
        self, partition: TopicPartition, producer: AIOKafkaProducer, *, is_silent: bool = False
    ) -> None:
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


def _sink(kind: type[KafkaSink], settings: Settings) -> KafkaSink:
    return kind(settings.kafka, _topics(settings))


def _commit_before_send(settings: Settings, clock: Clock) -> tuple[RecordSource, RecordSink]:
    return _source(CommitsBeforeItSends, settings, clock), _sink(KafkaSink, settings)


def _one_id_per_process(settings: Settings, clock: Clock) -> tuple[RecordSource, RecordSink]:
    timeout_ms = settings.delivery.transaction_timeout_ms
    sink = OneTransactionalId(settings.kafka, _topics(settings), transaction_timeout_ms=timeout_ms)
    return _source(NeverAsksTheGroup, settings, clock), sink


def _never_asks_the_group(settings: Settings, clock: Clock) -> tuple[RecordSource, RecordSink]:
    return _source(NeverAsksTheGroup, settings, clock), _sink(KafkaSink, settings)


def _late_partitions_at_their_end(
    settings: Settings, clock: Clock
) -> tuple[RecordSource, RecordSink]:
    """As ``auto.offset.reset=latest`` does."""
    right = beginning

    def wrong(*asked: Any, **more: Any) -> Any:  # noqa: ANN401 whatever it is given
        found = right(*asked, **more)
        return Edge("latest") if found == Edge("earliest") else found

    patch.object(kafka_beginning, "beginning", wrong).start()
    return open_ports(settings, clock)


def _topics_by_name_only(settings: Settings, clock: Clock) -> tuple[RecordSource, RecordSink]:
    """As clients do that know no ids of topics."""

    async def no_id(*_: object) -> str:
        return ""

    patch.object(kafka_topic_watch, "find_topic_id", no_id).start()
    return open_ports(settings, clock)


def _records_alone_are_committed(
    settings: Settings, clock: Clock
) -> tuple[RecordSource, RecordSink]:
    return _source(CommitsRecordsOnly, settings, clock), _sink(KafkaSink, settings)


def _late_answers_are_failures(settings: Settings, clock: Clock) -> tuple[RecordSource, RecordSink]:
    source, _ = open_ports(settings, clock)
    return source, _sink(TakesLateAnswersForFailures, settings)


def _one_key_for_all(settings: Settings, clock: Clock) -> tuple[RecordSource, RecordSink]:
    source, _ = open_ports(settings, clock)
    return source, _sink(OneKeyForAll, settings)


WRONG: Mapping[str, Ports] = {
    "commit-before-send": _commit_before_send,
    "one-id-per-process": _one_id_per_process,
    "never-asks-the-group": _never_asks_the_group,
    "late-partitions-at-their-end": _late_partitions_at_their_end,
    "topics-by-name-only": _topics_by_name_only,
    "records-alone-are-committed": _records_alone_are_committed,
    "late-answers-are-failures": _late_answers_are_failures,
    "one-key-for-all": _one_key_for_all,
}

if __name__ == "__main__":
    variant = sys.argv.pop(1)
    sys.argv.insert(1, "run")
    with patch.object(service, "open_ports", WRONG[variant]):
        main()
