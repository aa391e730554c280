"""A bounded run: where each partition begins and ends, and whether the group has read all of it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import structlog
from aiokafka import TopicPartition as KafkaPartition

from streamlabel.consumer.core.records import SourceRecord, TopicPartition
from streamlabel.consumer.core.topic_identity import TopicIdentity
from streamlabel.consumer.delivery.time_range import Mark, TimeRange, may_continue
from streamlabel.consumer.kafka.group_offsets import GroupOffsets
from streamlabel.consumer.kafka.start_offsets import recreated
from streamlabel.errors import BrokerError

__all__ = ["RangeOffsets", "RangeProgress", "ReadCount"]

# not_begun: there are partitions that no member of the run has begun; complete: all are at the end.
RangeProgress = Literal["not_begun", "reading", "complete"]

_log = structlog.get_logger(__name__)

_OLDEST: Final = "earliest"


class RangeOffsets:
    """The range in the partitions of one topic. Raises aiokafka's errors where nothing is said."""

    def __init__(
        self, offsets: GroupOffsets, wanted: TimeRange, identity: TopicIdentity, *, group: str
    ) -> None:
        self._offsets = offsets
        self._wanted = wanted
        self._identity = identity
        self._group = group
        self._marks: dict[int, Mark] = {}
        # Partitions that an earlier run had completed before this one began any.
        self._earlier: Mapping[int, Mark] | None = None

    async def first_offset(self, partition: KafkaPartition) -> int:
        """Return where reading begins; the end is fixed and stored if it is not yet.

        To be called when the partition's earlier owner is fenced: see ``start_offsets``.

        Raises:
            BrokerError: not retriable: the group's offset belongs to something else.
        """
        number = partition.partition
        await self._completed_earlier()
        stored = (await self._offsets.stored([number])).get(number)
        if stored is not None:
            self._refuse_another_topic(stored.mark)
            is_ours = may_continue(stored.next_offset, stored.mark, self._wanted)
            if is_ours is None:
                raise self._foreign(partition, stored.mark)
            if is_ours:
                self._marks[number] = stored.mark
                return stored.next_offset
        end = await self._end(number)
        first = await self._first(number) if stored is None else stored.next_offset
        mark = Mark(self._identity.current, self._wanted.name, max(first, end))
        await self._offsets.store({number: first}, mark.metadata)
        self._marks[number] = mark
        name = f"{partition.topic}-{number}"
        _log.info("range_begins", partition=name, first=first, end=mark.end)
        return first

    def mark(self, number: int) -> Mark:
        """Return what to store with each offset of a partition whose reading has begun."""
        return self._marks[number]

    async def progress(self) -> RangeProgress:
        """Return whether the group has stored the end of every partition, in this run.

        Where a range is read again and again (``continues``), the end that an earlier run has
        stored says nothing, unless there is nothing behind it.
        """
        numbers = self._offsets.partitions()
        if not numbers:
            return "not_begun"
        earlier = await self._completed_earlier()
        stored = await self._offsets.stored(numbers)
        if any(
            number not in stored or stored[number].mark.name != self._wanted.name
            for number in numbers
        ):
            return "not_begun"
        if any(each.next_offset < each.mark.end for each in stored.values()):
            return "reading"
        for number in numbers - self._marks.keys():
            mark = stored[number].mark
            if earlier.get(number) == mark and await self._end(number) > mark.end:
                return "not_begun"
        return "complete"

    async def _completed_earlier(self) -> Mapping[int, Mark]:
        """Return the marks of ranges that were complete at the first call.

        That is before this member begins a partition: so of two members at least one sees that the
        other has begun, and they never wait for each other.
        """
        if not self._wanted.continues:
            return {}
        if self._earlier is None:
            stored = await self._offsets.stored(self._offsets.partitions())
            if self._earlier is None:  # partitions begin side by side: the first answer counts
                self._earlier = {
                    number: each.mark
                    for number, each in stored.items()
                    if each.mark.name == self._wanted.name and each.next_offset >= each.mark.end
                }
        return self._earlier

    async def _first(self, number: int) -> int:
        if self._wanted.since_ms is None:
            return (await self._offsets.edges([number], _OLDEST))[number]
        return await self._offsets.at(number, self._wanted.since_ms)

    async def _end(self, number: int) -> int:
        if self._wanted.until_ms is None:
            return await self._offsets.end(number)
        return await self._offsets.at(number, self._wanted.until_ms)

    def _refuse_another_topic(self, mark: Mark) -> None:
        current = self._identity.current
        if mark.topic_id and current and mark.topic_id != current:
            raise recreated(self._offsets.topic, self._group)

    def _foreign(self, partition: KafkaPartition, mark: Mark) -> BrokerError:
        owner = f"a run over the range {mark.name}" if mark.name else "a service"
        return BrokerError(
            f"{partition.topic}-{partition.partition}: the offsets of the group {self._group}"
            f" belong to {owner}: to continue there could miss records of the range"
            f" {self._wanted.name}. Give another --group, or delete the group"
        )


class ReadCount:
    """Counts the records read of each partition; those that are read again count once."""

    def __init__(self) -> None:
        self._items: Counter[TopicPartition] = Counter()
        self._next: dict[TopicPartition, int] = {}

    def read(self, records: Iterable[SourceRecord]) -> None:
        """Count records, in offset order per partition."""
        for record in records:
            partition, offset = record.position.topic_partition, record.position.offset
            if offset >= self._next.get(partition, 0):
                self._next[partition] = offset + 1
                self._items[partition] += 1

    def items(self) -> Mapping[TopicPartition, int]:
        """Return the number of records by partition."""
        return self._items
