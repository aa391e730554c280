"""The bound on memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.batching.in_flight import InFlight


def test_reading_stops_at_the_item_limit() -> None:
    for items, room in ((1, 2), (2, 1), (3, 0), (4, 0)):
        counter = InFlight(max_items=3, max_bytes=1000)
        for _ in range(items):
            counter.add(1, 1)
        assert counter.room_items == room
        assert counter.has_room.is_set() == (room > 0)


def test_reading_stops_at_the_byte_limit() -> None:
    for size_bytes, room in ((99, 9), (100, 0), (101, 0)):
        counter = InFlight(max_items=10, max_bytes=100)
        counter.add(1, size_bytes)
        assert counter.room_items == room


def test_the_reader_waits_until_an_eighth_is_free() -> None:
    counter = InFlight(max_items=80, max_bytes=1000)
    for _ in range(80):
        counter.add(1, 0)
    counter.remove(9, 0)
    assert not counter.has_room.is_set()
    counter.remove(1, 0)
    assert counter.has_room.is_set()


def test_one_record_over_the_byte_limit_does_not_block_for_ever() -> None:
    counter = InFlight(max_items=10, max_bytes=100)
    counter.add(1, 1_000_000)
    counter.remove(1, 1_000_000)
    assert counter.has_room.is_set()
    assert counter.is_empty.is_set()


def test_more_leaving_than_came_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="This is a bug"):
        InFlight(max_items=1, max_bytes=1).remove(1, 0)


@given(sizes=st.lists(st.integers(0, 50), max_size=100), max_items=st.integers(1, 20))
def test_an_empty_counter_always_has_room(sizes: list[int], max_items: int) -> None:
    counter = InFlight(max_items=max_items, max_bytes=100)
    for size in sizes:
        counter.add(1, size)
    for size in sizes:
        counter.remove(1, size)
    assert counter.has_room.is_set()
    assert counter.room_items == max_items
