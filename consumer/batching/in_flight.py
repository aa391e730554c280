"""The bound on memory: records read and not yet delivered, counted in items and bytes.

A partition delivers in order, so one text that takes long keeps all later records of its partition
in flight. They must not take all the room, or no other partition would be read.

What is being written waits for nothing but the brokers. It does not take the room of texts that
wait for the model, which would have nothing to do while a transaction is committed. But no more is
left out of the count than the limit, so that twice as many may be in flight. Its bytes count.
"""

import asyncio
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streamlabel.consumer.core.records import TopicPartition

__all__ = ["InFlight", "Reading"]

# The most that one of several partitions may have of the room that stuck ones leave it. Three
# partitions that are stuck for hours, one after the other, leave 1/64: 32 records by default.
_MOST: Final = 3 / 4
# A partition whose records are mostly finished, and that delivers none for this long, is stuck.
_STUCK_S: Final = 1.0
# So is one that others have overtaken by this part of the room: their records were read later and
# are delivered already. Batches of similar length overtake by less.
_OVERTAKEN: Final = 1 / 4


class Reading(NamedTuple):
    """What may be read now.

    Attributes:
        max_items: how many records; 0: wait for ``InFlight.has_room``, a second at most.
        held: partitions that have too much in flight already.
    """

    max_items: int
    held: frozenset[TopicPartition] = frozenset()


@dataclass(slots=True)
class _Share:
    """What one partition has in flight.

    Attributes:
        moved_s: when it last delivered, or had nothing in flight.
        writing: of these items, those that are being written.
        reads: number of each read, in records since the start, and how many are still in flight.
    """

    moved_s: float
    items: int = 0
    size_bytes: int = 0
    writing: int = 0
    reads: deque[list[int]] = field(default_factory=deque)

    def take(self, items: int) -> int:
        """Take the oldest records out; return the number of the read of the last one."""
        number = 0
        while items > 0:
            number, there = self.reads[0]
            if there > items:
                self.reads[0][1] -= items
                break
            items -= there
            self.reads.popleft()
        return number


class InFlight:
    """Counts the records in flight and lets the reader wait until there is room.

    Args:
        max_items: at this many records reading stops; as many that are being written do not count.
        max_bytes: at this many bytes of key, value and headers reading stops; one record larger
            than the limit is still let in when nothing else is in flight.
    """

    def __init__(self, *, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._waits_for_any = False  # for a delivery of any partition
        self._read_items = 0  # since the start
        self._furthest = 0  # number of the latest read of which a record was delivered
        self._shares: dict[TopicPartition, _Share] = {}
        self._writing = 0
        self.items = 0
        self.size_bytes = 0
        self.has_room = asyncio.Event()
        self.has_room.set()
        self.is_empty = asyncio.Event()
        self.is_empty.set()

    @property
    def room_items(self) -> int:
        """How many more records may be read now."""
        if self.size_bytes >= self._max_bytes:
            return 0
        return max(0, self._max_items + min(self._writing, self._max_items) - self.items)

    def next_reading(
        self,
        finished: Mapping[TopicPartition, int],
        *,
        most: int,
        now_s: float,
    ) -> Reading:
        """Return how many records to read next, and of which partitions none.

        One of several partitions may have most of the room. At its limit it is held, if it is
        stuck. While one that is not stuck is at its limit, nothing is read: it will deliver soon,
        and what others read meanwhile would be more than their share.

        Args:
            finished: of each assigned partition, the records that are finished and not delivered.
            most: records of one read.
            now_s: the time.
        """
        stuck = {each for each in self._shares if self._is_stuck(each, finished, now_s)}
        taken = _Share(now_s)  # by stuck partitions, together
        for each in stuck:
            taken.items += self._counted(self._shares[each])
            taken.size_bytes += self._shares[each].size_bytes
        # Small refills cost a fetch request each, so the reader waits until an eighth is free.
        refill_items = max(1, (self._max_items - taken.items) // 8)
        items = self.room_items
        if items < (1 if self.has_room.is_set() else refill_items):
            self.has_room.clear()
            return Reading(0)
        self.has_room.set()
        if len(finished) < 2:
            return Reading(min(items, most))
        items = min(items, most, self._left_items(_Share(now_s), taken, is_stuck=False))
        held: set[TopicPartition] = set()
        for partition, share in self._shares.items():
            left = self._left_items(share, taken, is_stuck=partition in stuck)
            if left > 0:
                items = min(items, left)
            elif partition in stuck:
                held.add(partition)
            else:
                items = 0
        if items > 0 and not held.issuperset(finished):
            return Reading(items, frozenset(held))
        self.has_room.clear()
        self._waits_for_any = True
        return Reading(0)

    def _is_stuck(
        self, partition: TopicPartition, finished: Mapping[TopicPartition, int], now_s: float
    ) -> bool:
        """Return whether its records wait for one that takes longer than those of others."""
        share = self._shares[partition]
        if self._furthest - share.reads[0][0] > _OVERTAKEN * self._max_items:
            return True
        is_finished = 2 * finished.get(partition, 0) > share.items
        return is_finished and now_s - share.moved_s >= _STUCK_S

    def _counted(self, share: _Share) -> int:
        """Return how many records of a partition count, without those that are being written."""
        if self._writing <= self._max_items:
            return share.items - share.writing
        return share.items - share.writing * self._max_items // self._writing

    def _left_items(self, share: _Share, taken: _Share, *, is_stuck: bool) -> int:
        """Return how many more records a partition may have beside stuck ones; 0: none.

        Args:
            share: what it has.
            taken: what all stuck partitions have.
            is_stuck: whether it is one of them.
        """
        items = self._counted(share)
        own_items, own_bytes = (items, share.size_bytes) if is_stuck else (0, 0)
        if share.size_bytes > _MOST * (self._max_bytes - taken.size_bytes + own_bytes):
            return 0
        return max(0, math.ceil(_MOST * (self._max_items - taken.items + own_items)) - items)

    def add(self, items: int, size_bytes: int, partition: TopicPartition, *, now_s: float) -> None:
        """Count records of a partition in."""
        share = self._shares.setdefault(partition, _Share(now_s))
        share.items += items
        share.size_bytes += size_bytes
        share.reads.append([self._read_items, items])
        self._read_items += items
        self.items += items
        self.size_bytes += size_bytes
        self.is_empty.clear()
        if self.room_items == 0:
            self.has_room.clear()
            self._waits_for_any = False

    def write(self, items: int, partition: TopicPartition) -> None:
        """Note that so many records of a partition are being written, until some are removed."""
        share = self._shares[partition]
        self._writing += items - share.writing
        share.writing = items
        self._note_room()

    def remove(
        self, items: int, size_bytes: int, partition: TopicPartition, *, now_s: float
    ) -> None:
        """Count records of a partition out."""
        share = self._shares.get(partition, _Share(now_s))
        share.items -= items
        share.size_bytes -= size_bytes
        self._writing -= share.writing
        share.writing = 0
        share.moved_s = now_s
        if share.items < 0:
            raise AssertionError("more records were removed than added. This is a bug.")
        self._furthest = max(self._furthest, share.take(items))
        if share.items == 0:
            self._shares.pop(partition, None)
        self.items -= items
        self.size_bytes -= size_bytes
        self._note_room()
        if self.items == 0:
            self.is_empty.set()
            self.has_room.set()

    def _note_room(self) -> None:
        """Wake the reader if it waits for a delivery, or for enough room."""
        if self._waits_for_any or self.room_items >= max(1, self._max_items // 8):
            self._waits_for_any = False
            self.has_room.set()
