"""Takes fetched records of several topics from aiokafka in proportion to the topics' weights.

aiokafka's fetcher buffers one fetch of each partition and hands records out partition by partition,
in the order in which the fetches came: a topic with many or busy partitions would take nearly all
of every poll. Asked for the partitions of one topic at a time, it leaves the others in their
buffers, which are bounded: a partition is fetched again when its buffer is empty.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from aiokafka import ConsumerRecord
from aiokafka import TopicPartition as KafkaPartition
from aiokafka import errors as kafka_errors

from streamlabel.consumer.core.fair_shares import FairShares

__all__ = ["FairFetch"]

# Raised again by the next fetch; to raise a stored one could concern an earlier assignment.
_RECURRING = (
    kafka_errors.OffsetOutOfRangeError,
    kafka_errors.NoOffsetForPartitionError,
    kafka_errors.CorruptRecordException,
)

Fetched = dict[KafkaPartition, list[ConsumerRecord]]


class _Consumer(Protocol):
    async def getmany(self, *partitions: KafkaPartition, **options: Any) -> Fetched:  # noqa: ANN401
        """As AIOKafkaConsumer."""
        ...


class FairFetch:
    """Fetches for one member.

    Args:
        weights: of each input topic.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._shares = FairShares(weights)
        self._postponed: kafka_errors.KafkaError | None = None

    def add(self, weights: Mapping[str, float]) -> None:
        """Also divide what is read among these topics; those from before are not forgotten."""
        self._shares.add(weights)

    async def fetch(
        self,
        consumer: _Consumer,
        partitions: Iterable[KafkaPartition],
        *,
        always: KafkaPartition,
        max_items: int,
        timeout_ms: int,
    ) -> Fetched:
        """Return up to ``max_items`` records, in offset order per partition.

        Args:
            consumer: started.
            partitions: those that may be read now.
            always: a partition that does not exist: see ``no_partition``.
            max_items: > 0.
            timeout_ms: how long to wait for the first record.

        Raises:
            Exception: as ``getmany``; never after records were taken, which would be lost.
        """
        if self._postponed is not None:
            postponed, self._postponed = self._postponed, None
            raise postponed
        everything = tuple(partitions)
        if not self._shares.is_single:
            fetched = await self._by_topic(consumer, everything, max_items)
            if fetched or timeout_ms == 0:
                return fetched
        fetched = await consumer.getmany(
            always, *everything, timeout_ms=timeout_ms, max_records=max_items
        )
        for partition, records in fetched.items():
            self._shares.charge(partition.topic, len(records))
        return fetched

    async def _by_topic(
        self, consumer: _Consumer, partitions: Iterable[KafkaPartition], max_items: int
    ) -> Fetched:
        """Return what is there, without waiting."""
        by_topic: dict[str, list[KafkaPartition]] = {}
        for partition in partitions:
            by_topic.setdefault(partition.topic, []).append(partition)
        fetched: Fetched = {}
        for topic, quota in self._shares.turns(max_items, by_topic):
            try:
                found = await consumer.getmany(*by_topic[topic], timeout_ms=0, max_records=quota)
            except Exception as error:
                if not fetched:
                    raise
                if isinstance(error, kafka_errors.KafkaError) and not isinstance(error, _RECURRING):
                    self._postponed = error
                return fetched
            for partition, records in found.items():
                fetched.setdefault(partition, []).extend(records)
            self._shares.took(sum(map(len, found.values())))
        return fetched
