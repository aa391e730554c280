"""Offsets: a commit never passes an unfinished record; outputs leave in input order."""

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.delivery.offset_tracker import OffsetTracker, Release, Slot

R = TypeVar("R")


def started(tracker: OffsetTracker[R], offset: int, size_bytes: int = 0) -> Slot[R]:
    """Start one record."""
    (slot,) = tracker.started([(offset, size_bytes)])
    return slot


def test_a_finished_record_waits_for_the_one_before_it() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    first, second = started(tracker, 5), started(tracker, 6)
    second.result = "b"
    assert tracker.release(10) is None
    first.result = "a"
    release = tracker.release(10)
    assert release is not None
    assert (release.results, release.next_offset) == (("a", "b"), 7)


def test_nothing_is_committable_before_delivery() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    started(tracker, 0).result = "a"
    release = tracker.release(1)
    assert release is not None
    before = (tracker.committable, tracker.in_flight)
    assert before == (None, 1)
    tracker.delivered(release)
    assert (tracker.committable, tracker.in_flight) == (1, 0)


def test_a_committed_offset_is_not_committed_again() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    started(tracker, 0).result = "a"
    release = tracker.release(1)
    assert release is not None
    tracker.delivered(release)
    tracker.committed(1)
    assert tracker.committable is None


def test_offsets_may_have_gaps() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    for offset in (3, 10, 11):
        started(tracker, offset).result = str(offset)
    release = tracker.release(2)
    assert release is not None
    assert release.next_offset == 11


def test_an_offset_that_starts_twice_is_a_bug() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    started(tracker, 3)
    with pytest.raises(AssertionError, match="This is a bug"):
        started(tracker, 3)


def test_two_releases_at_a_time_are_a_bug() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    started(tracker, 0).result = "a"
    started(tracker, 1).result = "b"
    tracker.release(1)
    with pytest.raises(AssertionError, match="This is a bug"):
        tracker.release(1)


def test_abandoning_counts_what_was_in_flight() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    started(tracker, 0, size_bytes=10)
    started(tracker, 1, size_bytes=5).result = "b"
    assert tracker.abandoned() == (2, 15)
    assert tracker.in_flight == 0


def test_markers_behind_the_last_record_are_committed_with_it() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    started(tracker, 4).result = "a"
    tracker.passed(7)
    release = tracker.release(10)
    assert release is not None
    assert (release.results, release.next_offset) == (("a",), 7)


def test_markers_behind_an_unfinished_record_wait_for_it() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    started(tracker, 4).result = "a"
    started(tracker, 5)
    tracker.passed(9)
    release = tracker.release(10)
    assert release is not None
    assert release.next_offset == 5
    tracker.delivered(release)
    assert tracker.passage() is None


def test_offsets_without_records_alone_are_one_passage() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    assert tracker.passage() is None
    tracker.passed(3)
    passage = tracker.passage()
    assert passage is not None
    assert (passage.results, passage.next_offset) == ((), 3)
    tracker.delivered(passage)
    assert tracker.committable == 3
    tracker.passed(3)
    tracker.passed(2)
    assert tracker.passage() is None


class Life:
    """A tracker and what the world around it knows, for random steps."""

    def __init__(self, log: list[bool]) -> None:
        self.log = log  # True: a record; False: a marker
        self.tracker: OffsetTracker[int] = OffsetTracker()
        self.position = 0
        self.unfinished: list[Slot[int]] = []
        self.undelivered: set[int] = set()
        self.under_way: Release[int] | None = None

    def read(self, count: int) -> None:
        """Read on, as far as there is something."""
        end = min(len(self.log), self.position + count)
        for offset in range(self.position, end):
            if self.log[offset]:
                self.unfinished.append(started(self.tracker, offset))
                self.undelivered.add(offset)
        self.position = end
        self.tracker.passed(end)

    def finish(self, which: int) -> None:
        """Finish any record."""
        if self.unfinished:
            slot = self.unfinished.pop(which % len(self.unfinished))
            slot.result = slot.offset

    def release(self, count: int) -> None:
        """Begin a delivery."""
        if self.under_way is None:
            self.under_way = self.tracker.release(count + 1)

    def deliver(self, _: int) -> None:
        """End it."""
        if self.under_way is not None:
            self.tracker.delivered(self.under_way)
            self.undelivered.difference_update(self.under_way.results)
            self.under_way = None

    def pass_on(self, _: int) -> None:
        """Move behind what needs no record."""
        if self.under_way is None and (passage := self.tracker.passage()) is not None:
            self.tracker.delivered(passage)


_STEPS = st.sampled_from([Life.read, Life.finish, Life.release, Life.deliver, Life.pass_on])


@given(
    log=st.lists(st.booleans(), max_size=12),
    steps=st.lists(st.tuples(_STEPS, st.integers(0, 4)), max_size=40),
)
def test_what_is_committable_is_behind_no_undelivered_record_and_at_last_behind_all(
    log: list[bool], steps: list[tuple[Callable[[Life, int], None], int]]
) -> None:
    life, committable = Life(log), 0
    to_the_end = [(Life.read, len(log)), *[(Life.finish, 0)] * len(log)]
    to_the_end += [(Life.deliver, 0), (Life.release, len(log)), (Life.deliver, 0)]
    for step, number in [*steps, *to_the_end, (Life.pass_on, 0)]:
        step(life, number)
        committable = life.tracker.committable or 0
        assert all(offset >= committable for offset in life.undelivered)
        assert committable <= life.position
    assert committable == len(log)


def test_nothing_passes_what_was_abandoned() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    started(tracker, 0)
    tracker.passed(5)
    tracker.abandoned()
    tracker.passed(6)
    assert tracker.passage() is None


@given(data=st.data(), count=st.integers(1, 40), limit=st.integers(1, 7))
def test_any_finishing_order_releases_everything_once_and_in_order(
    data: st.DataObject, count: int, limit: int
) -> None:
    tracker: OffsetTracker[int] = OffsetTracker()
    slots = [started(tracker, offset * 2, size_bytes=1) for offset in range(count)]
    released: list[int] = []
    finished: set[int] = set()
    for index in data.draw(st.permutations(range(count))):
        slots[index].result = index
        finished.add(index)
        while (release := tracker.release(limit)) is not None:
            assert len(release.results) <= limit
            assert release.size_bytes == len(release.results)
            released += release.results
            tracker.delivered(release)
            # Nothing at or after the first unfinished record is ever committable.
            unfinished = [i for i in range(count) if i not in finished]
            committable = tracker.committable
            assert committable is not None
            assert not unfinished or committable <= unfinished[0] * 2
    assert released == list(range(count))
    assert tracker.committable == (count - 1) * 2 + 1
    assert tracker.in_flight == 0
