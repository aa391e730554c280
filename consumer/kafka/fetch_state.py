"""Which partitions may be read: the state machine between a rebalance and the next poll.

    own -> (listener and committed offset) -> admit -> take_admitted -> ready
    shut: from any of these back to owned; operations that were started before become void

Every operation is given the *epoch* it began in. ``shut`` increments the epoch, so a late result
for a partition that was revoked, or revoked and assigned again, is ignored.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from aiokafka import TopicPartition as KafkaPartition

__all__ = ["FetchState"]


class _HasOffset(Protocol):
    @property
    def offset(self) -> int: ...


R = TypeVar("R", bound=_HasOffset)


class FetchState:
    """The partitions of one member, and which of them may be read and committed now."""

    def __init__(self) -> None:
        self._epochs: dict[KafkaPartition, int] = {}  # kept for ever: an epoch never repeats
        self._owned: set[KafkaPartition] = set()
        self._admitted: dict[KafkaPartition, int] = {}  # where the next poll begins
        self._positions: dict[KafkaPartition, int] = {}  # next offset to return; ready ones
        self._first: dict[KafkaPartition, int] = {}  # where reading began
        self._ends: dict[KafkaPartition, int] = {}  # of a bounded run: where reading ends

    def own(self, partition: KafkaPartition) -> None:
        """Add an assigned partition, not ready yet."""
        self.shut(partition)
        self._owned.add(partition)

    def disown(self, partition: KafkaPartition) -> None:
        """Remove a partition; it may no longer be committed."""
        self.shut(partition)
        self._owned.discard(partition)
        self._first.pop(partition, None)
        self._ends.pop(partition, None)

    def shut(self, partition: KafkaPartition) -> None:
        """Return no more records of it until it is admitted again."""
        self._epochs[partition] = self._epochs.get(partition, 0) + 1
        self._admitted.pop(partition, None)
        self._positions.pop(partition, None)

    def clear(self) -> None:
        """Remove all partitions."""
        for partition in list(self._owned):
            self.disown(partition)

    def owned(self) -> frozenset[KafkaPartition]:
        """The partitions assigned to us, ready or not."""
        return frozenset(self._owned)

    def is_owned(self, partition: KafkaPartition) -> bool:
        """Whether the partition is assigned to us."""
        return partition in self._owned

    def epoch(self, partition: KafkaPartition) -> int:
        """The present epoch; an admission is valid only if it has not changed at the end."""
        return self._epochs.get(partition, 0)

    def end_at(self, partition: KafkaPartition, offset: int) -> None:
        """Return no records of an owned partition from ``offset`` on, until it is disowned."""
        if partition in self._owned:
            self._ends[partition] = offset

    def has_ended(self, partition: KafkaPartition) -> bool:
        """Whether a ready partition was read up to its end; never without an end."""
        end = self._ends.get(partition)
        return end is not None and self._positions.get(partition, -1) >= end

    def end(self, partition: KafkaPartition) -> int | None:
        """Where reading ends; None: nowhere."""
        return self._ends.get(partition)

    def admit(self, partition: KafkaPartition, epoch: int, offset: int) -> None:
        """Let the next poll begin at ``offset``, unless the epoch has passed."""
        if partition in self._owned and self._epochs[partition] == epoch:
            self._admitted[partition] = offset
            self._first[partition] = offset

    def take_admitted(self) -> list[tuple[KafkaPartition, int]]:
        """Make admitted partitions ready; the caller seeks. Only while no fetch is under way."""
        taken = list(self._admitted.items())
        self._positions.update(taken)
        self._admitted.clear()
        return taken

    def ready(self) -> dict[KafkaPartition, int]:
        """The partitions that may be fetched now, with the epochs to pass to ``accept``."""
        return {partition: self._epochs[partition] for partition in self._positions}

    def is_ready(self, partition: KafkaPartition) -> bool:
        """Whether its records may be returned."""
        return partition in self._positions

    def accept(
        self, partition: KafkaPartition, asked: Mapping[KafkaPartition, int], records: Sequence[R]
    ) -> Sequence[R]:
        """Return the records that may be passed on, and advance the positions past them.

        ``asked`` is the result of ``ready`` when the fetch began.
        """
        position = self._positions.get(partition)
        if position is None or asked.get(partition) != self._epochs[partition] or not records:
            return ()
        self._advance_to(partition, records[-1].offset + 1)
        end = self._ends.get(partition)
        if records[0].offset >= position and (end is None or records[-1].offset < end):
            return records
        return [
            record
            for record in records
            if record.offset >= position and (end is None or record.offset < end)
        ]

    def advance(
        self, partition: KafkaPartition, asked: Mapping[KafkaPartition, int], position: int
    ) -> None:
        """Advance past offsets that hold no records (transaction markers, compaction)."""
        if partition in self._positions and asked.get(partition) == self._epochs[partition]:
            self._advance_to(partition, position)

    def _advance_to(self, partition: KafkaPartition, position: int) -> None:
        """Advance, at most to the end: a commit there says that the range is complete."""
        end = self._ends.get(partition)
        reached = position if end is None else min(position, end)
        self._positions[partition] = max(self._positions[partition], reached)

    def positions(self) -> dict[KafkaPartition, int]:
        """Next offset to return, of ready partitions."""
        return dict(self._positions)

    def moved(self) -> dict[KafkaPartition, int]:
        """Next offset to return, of ready partitions that have advanced since reading began."""
        return {
            partition: position
            for partition, position in self._positions.items()
            if position > self._first[partition]
        }

    def may_commit(self, partition: KafkaPartition, next_offset: int) -> bool:
        """Whether the partition is ours and the offset not below the one where reading began."""
        return partition in self._owned and next_offset >= self._first.get(partition, 0)
