"""Tracks which offsets may be committed, and releases results in input order. Pure.

One tracker per assigned partition. Records start in offset order, finish in any order, are
released in offset order, and only what was delivered becomes committable: a commit never passes
an unfinished record, and the output order of a partition is its input order.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from streamlabel.models.core.values import value

__all__ = ["OffsetTracker", "Release", "Slot"]

R = TypeVar("R")


@dataclass(slots=True, eq=False)
class Slot(Generic[R]):
    """The place of one started record in the order; filled once, when the record is finished."""

    offset: int
    size_bytes: int
    output_bytes: int = 0
    result: R | None = None


@value
class Release(Generic[R]):
    """A finished, contiguous run of records, in offset order.

    Attributes:
        results: one per record.
        next_offset: what a commit names once all of ``results`` are delivered.
        size_bytes: of the records.
    """

    results: tuple[R, ...]
    next_offset: int
    size_bytes: int


class OffsetTracker(Generic[R]):
    """Started, finished, released, delivered, committed: the life of a partition's offsets.

    Offsets may have gaps (compaction, transaction markers, aborted records); "contiguous" refers to
    the records that were started. ``passed`` reports how far the gaps reach, so that commits can
    pass them.
    """

    def __init__(self) -> None:
        self._started: deque[Slot[R]] = deque()
        self._released = 0
        self._last_started = -1
        self._position: int | None = None
        self._is_abandoned = False
        self._delivered: int | None = None
        self._committed: int | None = None

    @property
    def in_flight(self) -> int:
        """Records started and not yet delivered."""
        return len(self._started) + self._released

    def started(self, records: Iterable[tuple[int, int]]) -> list[Slot[R]]:
        """Note that records, each an offset and its bytes, were read; return their slots."""
        slots: list[Slot[R]] = []
        last = self._last_started
        for offset, size_bytes in records:
            if offset <= last:
                raise AssertionError(f"offset {offset} started after {last}. This is a bug.")
            last = offset
            slots.append(Slot(offset, size_bytes))
        self._last_started = last
        self._started.extend(slots)
        return slots

    def passed(self, position: int) -> None:
        """Note that all offsets below ``position`` were started here or hold no record for us."""
        if not self._is_abandoned and (self._position is None or position > self._position):
            self._position = position

    @property
    def is_passage_due(self) -> bool:
        """Whether nothing is in flight and offsets without records follow the last record."""
        return (
            self.in_flight == 0
            and self._position is not None
            and (self._delivered is None or self._position > self._delivered)
        )

    def passage(self) -> Release[R] | None:
        """Return a release without results that passes offsets without records, if one is due."""
        if self._position is None or not self.is_passage_due:
            return None
        return Release((), self._position, 0)

    def release(self, max_items: int, *, max_output_bytes: float = math.inf) -> Release[R] | None:
        """Return up to ``max_items`` finished records from the front; None if there are none.

        Their ``output_bytes`` stay within ``max_output_bytes``, unless the first one is larger.
        The caller delivers them and then calls ``delivered``; one release at a time.
        """
        if self._released:
            raise AssertionError("the previous release was not delivered yet. This is a bug.")
        results: list[R] = []
        size_bytes = next_offset = output_bytes = 0
        for slot in islice(self._started, max_items):
            output_bytes += slot.output_bytes
            if slot.result is None or (output_bytes > max_output_bytes and results):
                break
            results.append(slot.result)
            size_bytes += slot.size_bytes
            next_offset = slot.offset + 1
        if not results:
            return None
        for _ in results:
            self._started.popleft()
        if not self._started and self._position is not None:
            next_offset = max(next_offset, self._position)  # markers after the last record
        self._released = len(results)
        return Release(tuple(results), next_offset, size_bytes)

    def delivered(self, release: Release[R]) -> None:
        """Note that every result of ``release`` is acknowledged."""
        self._released = 0
        self._delivered = release.next_offset

    @property
    def committable(self) -> int | None:
        """The next offset to commit, or None if nothing was delivered since the last commit."""
        return None if self._delivered == self._committed else self._delivered

    def committed(self, next_offset: int) -> None:
        """Note that ``next_offset`` is stored."""
        self._committed = next_offset

    def abandoned(self) -> tuple[int, int]:
        """Drop what is in flight; return how many records and bytes still held a slot.

        The next owner of the partition reads these again: nothing is released or committed here
        from now on.
        """
        self._is_abandoned = True
        self._position = None
        count = len(self._started)
        size_bytes = sum(slot.size_bytes for slot in self._started)
        self._started.clear()
        return count, size_bytes
