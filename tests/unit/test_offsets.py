"""Offsets: a commit never passes an unfinished record; outputs leave in input order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.offsets import OffsetTracker


def test_a_finished_record_waits_for_the_one_before_it() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    first, second = tracker.started(5), tracker.started(6)
    second.result = "b"
    assert tracker.release(10) is None
    first.result = "a"
    release = tracker.release(10)
    assert release is not None
    assert (release.results, release.next_offset) == (("a", "b"), 7)


def test_nothing_is_committable_before_delivery() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    tracker.started(0).result = "a"
    release = tracker.release(1)
    assert release is not None
    before = (tracker.committable, tracker.in_flight)
    assert before == (None, 1)
    tracker.delivered(release)
    assert (tracker.committable, tracker.in_flight) == (1, 0)


def test_a_committed_offset_is_not_committed_again() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    tracker.started(0).result = "a"
    release = tracker.release(1)
    assert release is not None
    tracker.delivered(release)
    tracker.committed(1)
    assert tracker.committable is None


def test_offsets_may_have_gaps() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    for offset in (3, 10, 11):
        tracker.started(offset).result = str(offset)
    release = tracker.release(2)
    assert release is not None
    assert release.next_offset == 11


def test_an_offset_that_starts_twice_is_a_bug() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    tracker.started(3)
    with pytest.raises(AssertionError, match="This is a bug"):
        tracker.started(3)


def test_two_releases_at_a_time_are_a_bug() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    tracker.started(0).result = "a"
    tracker.started(1).result = "b"
    tracker.release(1)
    with pytest.raises(AssertionError, match="This is a bug"):
        tracker.release(1)


def test_abandoning_counts_what_was_in_flight() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    tracker.started(0, size_bytes=10)
    tracker.started(1, size_bytes=5).result = "b"
    assert tracker.abandoned() == (2, 15)
    assert tracker.in_flight == 0


@given(data=st.data(), count=st.integers(1, 40), limit=st.integers(1, 7))
def test_any_finishing_order_releases_everything_once_and_in_order(
    data: st.DataObject, count: int, limit: int
) -> None:
    tracker: OffsetTracker[int] = OffsetTracker()
    slots = [tracker.started(offset * 2, size_bytes=1) for offset in range(count)]
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
