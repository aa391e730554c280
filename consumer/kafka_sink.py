"""Outputs into Kafka topics, at least once: acknowledged by all replicas before an offset goes."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.kafka_errors import broker_error, mapped
from streamlabel.consumer.kafka_producer import (
    Limits,
    abandon,
    batches,
    start_producer,
    stop_producer,
    write,
)
from streamlabel.consumer.ports import Outbound
from streamlabel.consumer.records import TopicPartition
from streamlabel.consumer.topics import Topic, ensure_topics
from streamlabel.errors import BrokerError, OutputRefusedError

__all__ = ["TOO_LARGE", "KafkaSink"]

_log = structlog.get_logger(__name__)

TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
_CONNECT_TIMEOUT_S = 15.0


class KafkaSink:
    """Implements ``RecordSink`` with one idempotent producer for all partitions.

    Output partition = input partition modulo the partitions of the output topic, so the order of
    an input partition holds in every output topic.

    After any failure the producer is replaced: its numbering has a gap then, and what it still
    holds must not arrive after the repetition.

    Args:
        topics: all that ``deliver`` will name.
    """

    def __init__(self, kafka: KafkaSettings, topics: Sequence[str]) -> None:
        self._kafka = kafka
        self._names = tuple(topics)
        self._timeout_s = kafka.request_timeout_ms / 1000
        self._topics: dict[str, Topic] = {}
        self._limits = Limits(kafka, {})
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()
        self._stopped = False

    @property
    def commits_offsets(self) -> bool:
        """False: the source commits."""
        return False

    @property
    def is_atomic(self) -> bool:
        """False: a broker may refuse one output when others are written."""
        return False

    async def start(self) -> None:
        """Check the topics and connect."""
        self._topics = dict(await ensure_topics(self._kafka, self._names))
        self._limits = Limits(
            self._kafka, {name: topic.max_batch_bytes for name, topic in self._topics.items()}
        )
        await self._connected()

    def limit_bytes(self, topic: str) -> int:
        """Largest ``Outbound.size_bytes`` that ``topic`` takes."""
        return self._limits.record_bytes(topic)

    async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Nothing to do: any process may write."""

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Nothing to do."""

    async def deliver(
        self, partition: TopicPartition, outbounds: Sequence[Outbound], next_offset: int
    ) -> None:
        """Write the outputs, up to the first one of a topic that is too large."""
        pending: Sequence[int] = range(len(outbounds))
        while pending:
            if refused := self._limits.refused(outbounds, pending):
                written = set(range(len(outbounds))).difference(pending)
                raise OutputRefusedError(refused, written)
            pending = await self._attempt(partition, outbounds, pending)

    async def _attempt(
        self, partition: TopicPartition, outbounds: Sequence[Outbound], indexes: Sequence[int]
    ) -> list[int]:
        """Write outputs; return those to send again because a batch was too large."""
        producer = await self._connected()
        sent: list[tuple[list[int], asyncio.Future[Any]]] = []
        latest: dict[str, asyncio.Future[Any]] = {}
        behind: list[int] = []  # a refused batch of the same topic
        try:
            async with asyncio.timeout(self._timeout_s):
                for batch in batches(outbounds, indexes, self._limits):
                    topic = outbounds[batch[0]].topic
                    if await _failed(latest.get(topic)):
                        behind += batch
                        continue
                    number = partition.partition % self._topics[topic].partitions
                    future = await write(producer, [outbounds[index] for index in batch], number)
                    latest[topic] = future
                    sent.append((batch, future))
                errors = await asyncio.gather(
                    *(future for _, future in sent), return_exceptions=True
                )
        except (KafkaError, OSError, TimeoutError) as error:
            for _, future in sent:
                future.cancel()  # nobody asks any more, and asyncio would complain about that
            await self._discard(producer)
            raise broker_error(error, f"delivering {len(outbounds)} output(s)") from error
        failed = [
            (batch, error)
            for (batch, _), error in zip(sent, errors, strict=True)
            if isinstance(error, BaseException)
        ]
        if failed:
            await self._discard(producer)
            self._learn(outbounds, failed)
        return sorted([index for batch, _ in failed for index in batch] + behind)

    def _learn(
        self, outbounds: Sequence[Outbound], failed: Sequence[tuple[list[int], BaseException]]
    ) -> None:
        """Lower the limit of the topic that refused; raise if that was not the cause."""
        for batch, error in failed:
            if isinstance(error, TOO_LARGE):
                self._limits.lower([outbounds[index] for index in batch])
                _log.warning("batch_refused", topic=outbounds[batch[0]].topic, outputs=len(batch))
                return
        error = failed[0][1]
        raise broker_error(error, f"delivering {len(outbounds)} output(s)") from error

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._stopped:
                raise BrokerError("the sink is stopped. This is a bug.")
            if self._producer is None:
                with mapped("connecting the producer"):
                    self._producer = await start_producer(
                        self._kafka, timeout_s=min(self._timeout_s, _CONNECT_TIMEOUT_S)
                    )
            return self._producer

    async def _discard(self, producer: AIOKafkaProducer) -> None:
        if self._producer is producer:
            self._producer = None
        await abandon(producer)

    async def stop(self) -> None:
        """Disconnect within seconds, also with the brokers down."""
        self._stopped = True
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop_producer(producer)


async def _failed(earlier: "asyncio.Future[Any] | None") -> bool:
    """Wait for the batch before, if there is one, and return whether it failed.

    aiokafka has one batch of a partition under way at a time anyway, but goes on with the next
    one after a refusal, and a broker that has not seen this producer before takes that one.
    """
    if earlier is None:
        return False
    await asyncio.wait([earlier])
    return earlier.exception() is not None
