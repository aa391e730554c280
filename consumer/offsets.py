"""Which offsets may be committed, and in which order outputs leave. Pure.

One tracker per assigned partition. Records start in offset order, finish in any order, are
released in offset order, and only what was delivered becomes committable: a commit never passes
an unfinished record, and the output order of a partition is its input order.
"""

from collections import deque
from typing import Generic, TypeVar

from streamlabel.models.values import value

__all__ = ["OffsetTracker", "Release", "Slot"]

R = TypeVar("R")


class Slot(Generic[R]):
    """The place of one started record; whoever finishes the record fills it once."""

    __slots__ = ("offset", "result", "size_bytes")

    def __init__(self, offset: int, size_bytes: int) -> None:
        self.offset = offset
        self.size_bytes = size_bytes
        self.result: R | None = None


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

    Offsets may have gaps (compaction, transaction markers); "contiguous" is among what started.
    """

    def __init__(self) -> None:
        self._started: deque[Slot[R]] = deque()
        self._released = 0
        self._last_started: int | None = None
        self._delivered: int | None = None
        self._committed: int | None = None

    @property
    def in_flight(self) -> int:
        """Records started and not yet delivered."""
        return len(self._started) + self._released

    def started(self, offset: int, size_bytes: int = 0) -> Slot[R]:
        """Note that the record at ``offset`` was read; return its slot."""
        if self._last_started is not None and offset <= self._last_started:
            raise AssertionError(
                f"offset {offset} started after {self._last_started}. This is a bug."
            )
        self._last_started = offset
        slot: Slot[R] = Slot(offset, size_bytes)
        self._started.append(slot)
        return slot

    def release(self, max_items: int) -> Release[R] | None:
        """Return up to ``max_items`` finished records from the front; None if there are none.

        The caller delivers them and then calls ``delivered``; one release at a time.
        """
        if self._released:
            raise AssertionError("the release before was not delivered yet. This is a bug.")
        results: list[R] = []
        size_bytes = 0
        next_offset = 0
        while self._started and len(results) < max_items:
            slot = self._started[0]
            if slot.result is None:
                break
            self._started.popleft()
            results.append(slot.result)
            size_bytes += slot.size_bytes
            next_offset = slot.offset + 1
        if not results:
            return None
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
        """Forget what is in flight; return how many records and bytes still held a slot."""
        count = len(self._started)
        size_bytes = sum(slot.size_bytes for slot in self._started)
        self._started.clear()
        return count, size_bytes
