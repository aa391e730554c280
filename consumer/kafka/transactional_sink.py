"""Writes outputs and the input offset in one Kafka transaction: exactly once.

One transactional producer per *input partition*, with an id made of group, topic and partition
(``transactional_ids``).
aiokafka sends offsets without the member's generation (no KIP-447), so only the id can fence:
starting a producer of the same id permanently ends the transaction of the earlier one. Therefore:

- ``assigned`` starts the producer *before* the source reads the committed offset;
- after any failure the producer is discarded and nothing is retried here. Only the committed offset
  shows whether the transaction was committed, and starting another producer may fence a newer
  owner. So the partition is lost (``PartitionLostError``) and restarted through
  ``RecordSource.restart``: fence, read the committed offset, seek.

The source must never commit offsets itself meanwhile: a plain commit after the offset of an open
transaction takes precedence over it.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka import errors as kafka_errors

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.core.ports import BrokerRole, Outbound
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.kafka.error_codes import TOO_LARGE, is_final, is_refusal, name_of
from streamlabel.consumer.kafka.errors import broker_error, mapped
from streamlabel.consumer.kafka.limits import SizeLimits, batches
from streamlabel.consumer.kafka.links import Links
from streamlabel.consumer.kafka.producer import abandon, start_transactional, stop_producer
from streamlabel.consumer.kafka.topics import ensure_topics
from streamlabel.consumer.kafka.transaction_trials import FAILURES, Refused, Trials, abort, send
from streamlabel.consumer.kafka.transactional_ids import input_id, unslashed_input_id
from streamlabel.errors import BrokerError, OutputRefusedError, PartitionLostError

__all__ = ["TransactionalSink"]

_log = structlog.get_logger(__name__)

# After a commit the broker refuses the next request as temporarily impossible until its markers are
# written: for a few milliseconds. aiokafka's default of 100 ms would be most of a small
# transaction.
_RETRY_BACKOFF_MS = 20


class _BatchTooLargeError(Exception):
    """The broker refuses a batch as too large; the transaction cannot be committed."""

    def __init__(self, batch: Sequence[Outbound]) -> None:
        super().__init__(len(batch))
        self.batch = batch


class TransactionalSink:
    """Implements ``RecordSink`` with ``commits_offsets``.

    Args:
        topics: all topics that outputs are for.
        transaction_timeout_ms: the broker aborts transactions that take longer, at its next check.
            A delivery has the same time limit.
        metadata: returns what is stored with the offsets of an input partition.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: Sequence[str],
        *,
        transaction_timeout_ms: int,
        metadata: Callable[[TopicPartition], str] = lambda _: "",
    ) -> None:
        self._kafka = kafka
        self._names = tuple(topics)
        self._metadata = metadata
        self._transaction_timeout_ms = transaction_timeout_ms
        self._timeout_s = transaction_timeout_ms / 1000
        self._limits = SizeLimits(kafka, {})
        self._producers: dict[TopicPartition, AIOKafkaProducer] = {}
        self._is_started = False
        self._wanted: set[TopicPartition] = set()  # partitions that need a producer
        self._links = Links()

    @property
    def commits_offsets(self) -> bool:
        """True: ``deliver`` commits."""
        return True

    @property
    def is_atomic(self) -> bool:
        """True: a refusal aborts the transaction."""
        return True

    async def start(self) -> None:
        """Check the topics; producers start with their partitions."""
        topics = await ensure_topics(self._kafka, self._names)
        self._limits = SizeLimits(
            self._kafka, {name: topic.max_batch_bytes for name, topic in topics.items()}
        )
        self._is_started = True

    def limit_bytes(self, topic: str) -> int:
        """Return the largest ``Outbound.size_bytes`` that ``topic`` accepts."""
        return self._limits.record_bytes(topic)

    async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Start the partitions' producers, which fences all earlier ones."""
        for partition in partitions:  # the source calls this per partition, for many at once
            self._wanted.add(partition)
            await self._fence(partition)

    async def _fence(self, partition: TopicPartition) -> None:
        earlier = self._producers.pop(partition, None)
        if earlier is not None:
            await abandon(earlier)
        with mapped(f"starting the transactions of {partition.topic}-{partition.partition}"):
            self._producers[partition] = await start_transactional(
                self._kafka,
                input_id(self._kafka.group_id, partition),
                # for a process of an earlier version that still has the partition
                ending=unslashed_input_id(self._kafka.group_id, partition),
                transaction_timeout_ms=self._transaction_timeout_ms,
                retry_backoff_ms=_RETRY_BACKOFF_MS,
            )

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Drop the producers; the next owner or the timeout aborts their open transactions."""
        gone = list(partitions)
        self._wanted.difference_update(gone)
        dropped = [self._producers.pop(each) for each in gone if each in self._producers]
        await asyncio.gather(*(abandon(producer) for producer in dropped))

    async def connections(self) -> Mapping[BrokerRole, bool]:
        """Whether every assigned partition has a producer, and brokers accept its outputs."""
        if not self._is_started:
            return {"producer": False}
        if not self._wanted:
            return {}
        if self._wanted - self._producers.keys():
            return {"producer": False}
        producers = list(self._producers.values())
        return {"producer": all(await asyncio.gather(*map(self._links.writing, producers)))}

    async def deliver(
        self, partition: TopicPartition, outbounds: Sequence[Outbound], next_offset: int
    ) -> None:
        """Write the outputs and the offset, all or nothing."""
        if refused := self._limits.refused(outbounds, range(len(outbounds))):
            raise OutputRefusedError(refused)
        producer = self._producers.get(partition)
        if producer is None:
            raise PartitionLostError(*partition, "it has no producer any more")
        try:
            async with asyncio.timeout(self._timeout_s):
                answered = await self._transact(producer, partition, outbounds, next_offset)
            if answered is None:
                return
            refused = await self._trials(producer).search(partition, outbounds, answered)
        except _BatchTooLargeError as error:
            await self._drop(partition, producer)
            self._limits.lower(error.batch)
            raise PartitionLostError(*partition, "a batch was too large") from error
        except FAILURES as error:
            await self._drop(partition, producer, is_silent=isinstance(error, TimeoutError))
            raise _lost(partition, error) from error
        except BaseException:  # cancelled: whether it was committed is not known either
            await self._drop(partition, producer)
            raise
        if refused:
            raise OutputRefusedError(refused)
        topic = outbounds[answered.indexes[0]].topic
        raise BrokerError(
            f"delivering to {topic}: {name_of(answered.answer)}, but not for any single output",
            True,
        )

    async def _transact(
        self,
        producer: AIOKafkaProducer,
        partition: TopicPartition,
        outbounds: Sequence[Outbound],
        next_offset: int,
    ) -> Refused | None:
        """Commit; or return the refused batch, with the transaction still open."""
        await producer.begin_transaction()
        sent: list[tuple[list[int], asyncio.Future[Any]]] = []
        for indexes in batches(outbounds, range(len(outbounds)), self._limits):
            batch = [outbounds[index] for index in indexes]
            sent.append((indexes, await send(producer, partition, batch)))
        # All batches are awaited before the commit, because it would also succeed, without their
        # records, if batches failed: aiokafka 0.14.0 waits for them there and ignores errors.
        results = await asyncio.gather(*(future for _, future in sent), return_exceptions=True)
        for (indexes, _), result in zip(sent, results, strict=True):
            if isinstance(result, TOO_LARGE):
                batch = [outbounds[index] for index in indexes]
                raise _BatchTooLargeError(batch) from result
            if isinstance(result, kafka_errors.BrokerResponseError) and is_refusal(result):
                return Refused(indexes, result)  # later batches follow a gap in the sequence
            if isinstance(result, BaseException):
                raise result
        offsets = {KafkaPartition(*partition): (next_offset, self._metadata(partition))}
        await producer.send_offsets_to_transaction(offsets, self._kafka.group_id)
        await producer.commit_transaction()
        return None

    def _trials(self, producer: AIOKafkaProducer) -> Trials:
        return Trials(producer, transaction_timeout_ms=self._transaction_timeout_ms)

    async def _drop(
        self, partition: TopicPartition, producer: AIOKafkaProducer, *, is_silent: bool = False
    ) -> None:
        """Discard a producer; abort its transaction first, unless the broker does not answer."""
        if self._producers.get(partition) is producer:
            del self._producers[partition]
        if not is_silent:
            await abort(producer)
        await abandon(producer)

    async def stop(self) -> None:
        """Disconnect within seconds, also with the brokers down."""
        producers = list(self._producers.values())
        self._producers.clear()
        self._wanted.clear()
        await asyncio.gather(*(stop_producer(producer) for producer in producers))


def _lost(partition: TopicPartition, error: BaseException) -> BrokerError:
    if is_final(error):
        return broker_error(error, "delivering in a transaction", right="Write")
    return PartitionLostError(*partition, type(error).__name__)
