"""Writes outputs to Kafka topics, at least once: acknowledged by all replicas before a commit."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from aiokafka.errors import KafkaError

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.core.ports import BrokerRole, Outbound
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.kafka.error_codes import TOO_LARGE, is_doubtful, name_of
from streamlabel.consumer.kafka.errors import broker_error, mapped
from streamlabel.consumer.kafka.limits import SizeLimits, batches, by_topic
from streamlabel.consumer.kafka.links import Links
from streamlabel.consumer.kafka.producer import start_producer
from streamlabel.consumer.kafka.refusals import BatchRefusedError, refused_output
from streamlabel.consumer.kafka.topics import ensure_topics
from streamlabel.consumer.kafka.writer import Writer
from streamlabel.errors import BrokerError, OutputRefusedError, PartlyDeliveredError, RecordError

__all__ = ["KafkaSink"]

_log = structlog.get_logger(__name__)

_CONNECT_TIMEOUT_S = 15.0
_MANY_ITEMS = 4096  # more than a batch holds
_RECONNECT_TIMEOUT_S = 2.0  # of one check whether brokers are back, with nothing to write


@dataclass(slots=True)
class _Written:
    """The progress of the outputs of one topic: the first ones are written, then one failed."""

    indexes: list[int] = field(default_factory=list)
    refused: dict[int, RecordError] = field(default_factory=dict)
    error: BrokerError | None = None
    is_doubted: bool = False  # after the refusal of a single output; it is tried once more


class KafkaSink:
    """Implements ``RecordSink`` with one idempotent producer for all partitions.

    Output partition = input partition modulo the partitions that the output topic has now, so the
    order of an input partition holds in every output topic, and within each of its partitions
    when it grows.

    Outputs of a topic are written one batch after the other, so later ones cannot overtake a batch
    that fails. If a broker does not answer, the same producer waits for it, which duplicates
    nothing and does not affect other partitions. After an error the producer is replaced for later
    batches, because its sequence has a gap; batches of others that are in flight end with the old
    one.

    A batch in which a record violates a rule of its topic is retried in smaller ones, which grow
    again with every one that is accepted, so that many such records cost few attempts each.

    Args:
        topics: all topics that outputs are for.
        may_send: called right before sending: whether no other process can own our partitions.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: Sequence[str],
        *,
        may_send: Callable[[], bool] = lambda: True,
    ) -> None:
        self._kafka = kafka
        self._names = tuple(topics)
        self._may_send = may_send
        self._timeout_s = kafka.request_timeout_ms / 1000
        self._limits = SizeLimits(kafka, {})
        self._together: dict[tuple[TopicPartition, str], int] = {}  # outputs in the next batch
        self._writer: Writer | None = None
        self._connecting = asyncio.Lock()
        self._has_started = False
        self._stopped = False
        self._links = Links()

    @property
    def commits_offsets(self) -> bool:
        """False: the source commits."""
        return False

    @property
    def is_atomic(self) -> bool:
        """False: a broker may refuse one output after others are written."""
        return False

    async def start(self) -> None:
        """Check the topics and connect."""
        topics = await ensure_topics(self._kafka, self._names)
        self._limits = SizeLimits(
            self._kafka, {name: topic.max_batch_bytes for name, topic in topics.items()}
        )
        self._has_started = True
        await self._current()

    def limit_bytes(self, topic: str) -> int:
        """Return the largest ``Outbound.size_bytes`` that ``topic`` accepts."""
        return self._limits.record_bytes(topic)

    async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Do nothing: any process may write."""

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Do nothing: the callers cancel their deliveries."""

    async def deliver(
        self, partition: TopicPartition, outbounds: Sequence[Outbound], next_offset: int
    ) -> None:
        """Write the outputs, of each topic up to the first one that fails."""
        if refused := self._limits.refused(outbounds, range(len(outbounds))):
            raise OutputRefusedError(refused)
        grouped = by_topic(outbounds, range(len(outbounds)))
        topics = [_Written() for _ in grouped]
        async with asyncio.TaskGroup() as group:
            for written, indexes in zip(topics, grouped.values(), strict=True):
                group.create_task(self._write(partition, outbounds, indexes, written))
        self._raise_failures(topics)

    @staticmethod
    def _raise_failures(topics: Sequence[_Written]) -> None:
        written = {index for topic in topics for index in topic.indexes}
        refused = {index: why for topic in topics for index, why in topic.refused.items()}
        errors = [topic.error for topic in topics if topic.error is not None]
        for error in errors:
            if not error.retriable:
                raise error
        if refused:
            raise OutputRefusedError(refused, written)
        if errors:
            raise PartlyDeliveredError(str(errors[0]), written) from errors[0]

    async def _write(
        self,
        partition: TopicPartition,
        outbounds: Sequence[Outbound],
        indexes: Sequence[int],
        written: _Written,
    ) -> None:
        """Write outputs of one topic; note the progress in ``written``."""
        left = list(indexes)
        topic = outbounds[left[0]].topic
        while left:
            most = self._together.get((partition, topic), _MANY_ITEMS)
            taken = next(batches(outbounds, left, self._limits))[:most]
            if refused := self._limits.refused(outbounds, taken[:1]):
                written.refused.update(refused)
                return
            batch = [outbounds[index] for index in taken]
            try:
                await self._write_batch(partition, batch)
            except (*TOO_LARGE, BatchRefusedError) as error:
                if why := self._learn(partition, batch, error, written):
                    written.refused[taken[0]] = why
                    return
            except BrokerError as error:  # no connection
                written.error = error
                return
            except (KafkaError, OSError, TimeoutError) as error:
                written.error = broker_error(error, f"delivering to {topic}", right="Write")
                written.error.__cause__ = error
                return
            else:
                written.indexes += taken
                written.is_doubted = False
                self._together[partition, topic] = min(_MANY_ITEMS, 2 * most)
                left = left[len(taken) :]

    def _learn(
        self,
        partition: TopicPartition,
        batch: Sequence[Outbound],
        error: BaseException,
        written: _Written,
    ) -> RecordError | None:
        """Make the next batch smaller; return why this one is refused permanently, if it is."""
        topic = batch[0].topic
        answer = error.answer if isinstance(error, BatchRefusedError) else error
        _log.warning("batch_refused", topic=topic, outputs=len(batch), error=name_of(answer))
        if not isinstance(error, BatchRefusedError):
            self._limits.lower(batch)
            return None
        self._together[partition, topic] = max(1, len(batch) // 2)
        if len(batch) > 1:
            return None
        if is_doubtful(error.answer.errno) and not written.is_doubted:
            written.is_doubted = True
            return None
        return refused_output(topic, error.answer)

    async def connections(self) -> Mapping[BrokerRole, bool]:
        """Whether the brokers accept outputs; reconnects if the last delivery lost the producer."""
        if self._stopped:
            return {}
        if self._writer is None and self._has_started:
            with suppress(BrokerError, TimeoutError):
                async with asyncio.timeout(_RECONNECT_TIMEOUT_S):
                    await self._current()
        writer = self._writer
        return {"producer": writer is not None and await self._links.writing(writer.producer)}

    async def _write_batch(self, partition: TopicPartition, batch: Sequence[Outbound]) -> None:
        writer = await self._current()
        writer.users += 1
        try:
            await writer.write(batch, partition.partition)
        finally:
            writer.users -= 1
            if writer.is_retired and not writer.users:
                await self._close(writer)

    async def _current(self) -> Writer:
        async with self._connecting:
            if self._stopped:
                raise BrokerError("the sink is stopped. This is a bug.")
            earlier = self._writer
            if earlier is None or earlier.is_retired:
                if earlier is not None and not earlier.users:
                    await self._close(earlier)
                with mapped("connecting the producer"):
                    producer = await start_producer(
                        self._kafka, timeout_s=min(self._timeout_s, _CONNECT_TIMEOUT_S)
                    )
                writer = Writer(
                    producer, request_timeout_s=self._timeout_s, may_send=self._may_send
                )
                self._writer = writer
                return writer
            return earlier

    async def _close(self, writer: Writer) -> None:
        if self._writer is writer:
            self._writer = None
        await writer.close()

    async def stop(self) -> None:
        """Disconnect within seconds, also with the brokers down."""
        self._stopped = True
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.close()
