"""Outputs and the offset they came from in one Kafka transaction: exactly once.

One transactional producer per *input partition*, with an id made of group, topic and partition.
aiokafka sends offsets without the member's generation (no KIP-447), so only the id can fence: who
starts a producer of the same id ends the transaction of the earlier one, for good. Therefore:

- ``assigned`` starts the producer *before* the source reads the committed offset;
- after any failure the producer is thrown away and nothing is repeated here. Whether the
  transaction was committed is known only to the committed offset, and starting another producer
  may fence a newer owner. So the partition is lost (``PartitionLostError``) and begins again
  through ``RecordSource.restart``: fence, read the committed offset, seek.

The source must never commit offsets of its own meanwhile: a plain commit that is younger than the
offset in an open transaction wins over it.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka import errors as kafka_errors

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
from streamlabel.consumer.kafka_sink import TOO_LARGE
from streamlabel.consumer.ports import Outbound
from streamlabel.consumer.records import TopicPartition
from streamlabel.consumer.topics import Topic, ensure_topics
from streamlabel.errors import OutputRefusedError, PartitionLostError

__all__ = ["TransactionalSink"]

_log = structlog.get_logger(__name__)

# The broker answers "later" to the first request after a commit, until its markers are written: a
# few milliseconds. aiokafka's own 100 ms would be most of a small transaction.
_RETRY_BACKOFF_MS = 20
_DENIED = (
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.GroupAuthorizationFailedError,
    kafka_errors.TransactionalIdAuthorizationFailed,
    kafka_errors.ClusterAuthorizationFailedError,
)


class _BatchRefusedError(Exception):
    """The broker finds a batch too large; the transaction cannot be committed."""

    def __init__(self, batch: Sequence[Outbound]) -> None:
        super().__init__(len(batch))
        self.batch = batch


class TransactionalSink:
    """Implements ``RecordSink`` with ``commits_offsets``.

    Args:
        topics: all that ``deliver`` will name.
        transaction_timeout_ms: the broker aborts what takes longer; readers of committed records
            wait at most this long for a process that died. A delivery gets the same time.
    """

    def __init__(
        self, kafka: KafkaSettings, topics: Sequence[str], *, transaction_timeout_ms: int
    ) -> None:
        self._kafka = kafka
        self._names = tuple(topics)
        self._transaction_timeout_ms = transaction_timeout_ms
        self._timeout_s = transaction_timeout_ms / 1000
        self._topics: dict[str, Topic] = {}
        self._limits = Limits(kafka, {})
        self._producers: dict[TopicPartition, AIOKafkaProducer] = {}

    @property
    def commits_offsets(self) -> bool:
        """True: ``deliver`` commits."""
        return True

    @property
    def is_atomic(self) -> bool:
        """True: a refusal ends the transaction."""
        return True

    async def start(self) -> None:
        """Check the topics; producers start with their partitions."""
        self._topics = dict(await ensure_topics(self._kafka, self._names))
        self._limits = Limits(
            self._kafka, {name: topic.max_batch_bytes for name, topic in self._topics.items()}
        )

    def limit_bytes(self, topic: str) -> int:
        """Largest ``Outbound.size_bytes`` that ``topic`` takes."""
        return self._limits.record_bytes(topic)

    async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Start the partitions' producers, which fences all earlier ones."""
        for partition in partitions:  # the source calls this per partition, for many at once
            await self._fence(partition)

    async def _fence(self, partition: TopicPartition) -> None:
        earlier = self._producers.pop(partition, None)
        if earlier is not None:
            await abandon(earlier)
        name = f"{partition.topic}-{partition.partition}"
        with mapped(f"starting the transactions of {name}"):
            self._producers[partition] = await start_producer(
                self._kafka,
                timeout_s=self._timeout_s,
                transactional_id=f"{self._kafka.group_id}-{name}",
                retry_backoff_ms=_RETRY_BACKOFF_MS,
                transaction_timeout_ms=self._transaction_timeout_ms,
            )

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Drop the producers; what they left open is aborted by the next owner, or in time."""
        dropped = [self._producers.pop(each) for each in partitions if each in self._producers]
        await asyncio.gather(*(abandon(producer) for producer in dropped))

    async def deliver(
        self, partition: TopicPartition, outbounds: Sequence[Outbound], next_offset: int
    ) -> None:
        """Write the outputs and the offset, all or nothing."""
        if refused := self._limits.refused(outbounds, range(len(outbounds))):
            raise OutputRefusedError(refused)
        producer = self._producers.get(partition)
        if producer is None:
            raise PartitionLostError(*partition, "its producer is gone")
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._transact(producer, partition, outbounds, next_offset)
        except _BatchRefusedError as error:
            await self._drop(partition, producer)
            self._limits.lower(error.batch)
            raise PartitionLostError(*partition, "a batch was too large") from error
        except _DENIED as error:
            await self._drop(partition, producer)
            raise broker_error(error, "delivering in a transaction") from error
        except (
            kafka_errors.KafkaError,
            kafka_errors.IllegalOperation,
            AssertionError,  # aiokafka: a state that a dead producer cannot leave
            OSError,
            TimeoutError,
        ) as error:
            await self._drop(partition, producer)
            raise PartitionLostError(*partition, type(error).__name__) from error
        except BaseException:  # cancelled: how far it came is not known either
            await self._drop(partition, producer)
            raise

    async def _transact(
        self,
        producer: AIOKafkaProducer,
        partition: TopicPartition,
        outbounds: Sequence[Outbound],
        next_offset: int,
    ) -> None:
        await producer.begin_transaction()
        sent: list[tuple[list[Outbound], asyncio.Future[Any]]] = []
        for indexes in batches(outbounds, range(len(outbounds)), self._limits):
            batch = [outbounds[index] for index in indexes]
            number = partition.partition % self._topics[batch[0].topic].partitions
            sent.append((batch, await write(producer, batch, number)))
        # The commit would succeed although a batch failed, without its records (aiokafka 0.14.0
        # waits for batches there and ignores their errors): so all of them are awaited first.
        results = await asyncio.gather(*(future for _, future in sent), return_exceptions=True)
        for (batch, _), result in zip(sent, results, strict=True):
            if isinstance(result, TOO_LARGE):
                raise _BatchRefusedError(batch) from result
        for result in results:
            if isinstance(result, BaseException):
                raise result
        offsets = {KafkaPartition(*partition): next_offset}
        await producer.send_offsets_to_transaction(offsets, self._kafka.group_id)
        await producer.commit_transaction()

    async def _drop(self, partition: TopicPartition, producer: AIOKafkaProducer) -> None:
        if self._producers.get(partition) is producer:
            del self._producers[partition]
        await abandon(producer)

    async def stop(self) -> None:
        """Disconnect within seconds, also with the brokers down."""
        producers = list(self._producers.values())
        self._producers.clear()
        await asyncio.gather(*(stop_producer(producer) for producer in producers))
