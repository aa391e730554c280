"""The bound on memory."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.batching.in_flight import InFlight
from streamlabel.consumer.core.records import TopicPartition

P0, P1, P2, P3 = (TopicPartition("texts", number) for number in range(4))


def test_reading_stops_at_the_item_limit() -> None:
    for items, room in ((1, 2), (2, 1), (3, 0), (4, 0)):
        counter = InFlight(max_items=3, max_bytes=1000)
        for _ in range(items):
            counter.add(1, 1, P0, now_s=0)
        assert counter.room_items == room
        assert counter.has_room.is_set() == (room > 0)


def test_reading_stops_at_the_byte_limit() -> None:
    for size_bytes, room in ((99, 9), (100, 0), (101, 0)):
        counter = InFlight(max_items=10, max_bytes=100)
        counter.add(1, size_bytes, P0, now_s=0)
        assert counter.room_items == room


def test_the_reader_waits_until_an_eighth_is_free() -> None:
    counter = InFlight(max_items=80, max_bytes=1000)
    for _ in range(80):
        counter.add(1, 0, P0, now_s=0)
    counter.remove(9, 0, P0, now_s=0)
    assert not counter.has_room.is_set()
    counter.remove(1, 0, P0, now_s=0)
    assert counter.has_room.is_set()


def test_one_record_over_the_byte_limit_does_not_block_for_ever() -> None:
    counter = InFlight(max_items=10, max_bytes=100)
    counter.add(1, 1_000_000, P0, now_s=0)
    counter.remove(1, 1_000_000, P0, now_s=0)
    assert counter.has_room.is_set()
    assert counter.is_empty.is_set()


def test_more_leaving_than_came_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="This is a bug"):
        InFlight(max_items=1, max_bytes=1).remove(1, 0, P0, now_s=0)


@given(sizes=st.lists(st.integers(0, 50), max_size=100), max_items=st.integers(1, 20))
def test_an_empty_counter_always_has_room(sizes: list[int], max_items: int) -> None:
    counter = InFlight(max_items=max_items, max_bytes=100)
    for size in sizes:
        counter.add(1, size, P0, now_s=0)
    for size in sizes:
        counter.remove(1, size, P0, now_s=0)
    assert counter.has_room.is_set()
    assert counter.room_items == max_items


# ---- one partition must not take all the room


@dataclass
class Reader:
    """Reads as the pipeline does; every partition has a backlog, and the test delivers."""

    counter: InFlight
    partitions: Sequence[TopicPartition]
    backlog: Sequence[TopicPartition]
    now_s: float = 0.0
    there: Counter[TopicPartition] = field(default_factory=Counter)
    finished: Counter[TopicPartition] = field(default_factory=Counter)

    def step(self) -> int:
        """Read once; return how many records."""
        max_items, held = self.counter.next_reading(
            {each: self.finished[each] for each in self.partitions}, most=500, now_s=self.now_s
        )
        first = next((each for each in self.backlog if each not in held), None)
        if max_items == 0 or first is None:
            self.now_s += 1
            return 0
        self.counter.add(max_items, max_items, first, now_s=self.now_s)
        self.there[first] += max_items
        return max_items

    def deliver(self, partition: TopicPartition) -> None:
        """Deliver all of a partition."""
        self.now_s += 0.1
        items = self.there.pop(partition, 0)
        self.finished.pop(partition, None)
        if items:
            self.counter.remove(items, items, partition, now_s=self.now_s)


@given(max_items=st.integers(100, 5000), stuck=st.integers(1, 3))
def test_stuck_partitions_leave_room_for_the_others(max_items: int, stuck: int) -> None:
    """They are stuck one after the other, which is the worst case."""
    counter = InFlight(max_items=max_items, max_bytes=10**9)
    partitions = (P0, P1, P2, P3)
    reader = Reader(counter, partitions, ())
    for count in range(1, stuck + 1):
        reader.backlog = partitions[:count]
        for _ in range(30):
            reader.step()
            reader.finished.update(reader.there - reader.finished)  # the first one excepted
    assert counter.room_items >= max_items // 4**stuck - stuck
    reader.backlog = (*partitions[:stuck], P3)
    read = 0
    for _ in range(50):
        read += reader.step()
        reader.deliver(P3)
    assert read >= 50 * (max_items // 4**stuck - stuck) / 4


def test_a_partition_that_delivers_is_not_taken_for_a_stuck_one() -> None:
    """Weights would not hold if what a busy partition may not read went to the others."""
    counter = InFlight(max_items=1000, max_bytes=10**9)
    counter.add(750, 0, P0, now_s=0)
    assert counter.next_reading({P0: 700, P1: 0}, most=500, now_s=0.9) == (0, frozenset())
    assert counter.next_reading({P0: 700, P1: 0}, most=500, now_s=1).held == {P0}
    counter.remove(10, 0, P0, now_s=1.1)
    assert counter.next_reading({P0: 700, P1: 0}, most=500, now_s=1.2) == (10, frozenset())


def test_a_partition_whose_texts_all_take_long_does_not_stop_the_others_for_long() -> None:
    """Nothing of it is finished; but others that were read later are delivered already."""
    counter = InFlight(max_items=1000, max_bytes=10**9)
    counter.add(400, 0, P0, now_s=0)
    counter.add(50, 0, P1, now_s=0)
    counter.add(350, 0, P0, now_s=0)
    assert counter.next_reading({P0: 0, P1: 0}, most=500, now_s=100) == (0, frozenset())
    counter.remove(50, 0, P1, now_s=100)
    assert counter.next_reading({P0: 0, P1: 0}, most=500, now_s=100) == (188, frozenset({P0}))


def test_a_slow_model_is_no_reason_to_hold_a_busy_partition() -> None:
    """It takes minutes for a batch, and takes them in order."""
    counter = InFlight(max_items=1000, max_bytes=10**9)
    counter.add(50, 0, P1, now_s=0)
    counter.add(750, 0, P0, now_s=0)
    counter.remove(50, 0, P1, now_s=100)
    assert counter.next_reading({P0: 0, P1: 0}, most=500, now_s=1000) == (0, frozenset())


def test_a_partition_of_large_records_leaves_bytes_for_the_others() -> None:
    counter = InFlight(max_items=2048, max_bytes=1000)
    counter.add(1, 900, P0, now_s=0)
    items, held = counter.next_reading({P0: 1, P1: 0}, most=500, now_s=1)
    assert items > 0
    assert held == {P0}


def test_what_is_written_leaves_its_room_to_others() -> None:
    """Otherwise the model would have nothing to do while a transaction is committed."""
    for written, room in ((0, 0), (1, 1), (99, 99), (100, 100)):
        counter = InFlight(max_items=100, max_bytes=1000)
        counter.add(100, 0, P0, now_s=0)
        counter.write(written, P0)
        assert counter.room_items == room
        assert counter.has_room.is_set() == (room >= 12)  # an eighth
        counter.remove(written, 0, P0, now_s=0)
        assert counter.room_items == room


def test_no_more_is_left_out_of_the_count_than_the_limit() -> None:
    counter = InFlight(max_items=100, max_bytes=1000)
    counter.add(100, 0, P0, now_s=0)
    counter.write(100, P0)
    counter.add(100, 0, P1, now_s=0)
    counter.write(100, P1)
    assert counter.room_items == 0
    counter.remove(100, 0, P0, now_s=0)
    assert counter.room_items == 100


def test_the_bytes_of_what_is_written_count() -> None:
    counter = InFlight(max_items=100, max_bytes=1000)
    counter.add(10, 1000, P0, now_s=0)
    counter.write(10, P0)
    assert counter.room_items == 0


def test_a_partition_has_its_share_beside_what_it_writes() -> None:
    for written in (0, 1, 124, 750):
        counter = InFlight(max_items=1000, max_bytes=10**9)
        counter.add(750, 0, P0, now_s=0)
        counter.write(written, P0)
        reading = counter.next_reading({P0: 750, P1: 0}, most=5000, now_s=0.5)
        assert reading == (written, frozenset())


def test_a_partition_that_writes_and_becomes_stuck_leaves_room_to_the_others() -> None:
    """As when the leader of its output is down."""
    counter = InFlight(max_items=1000, max_bytes=10**9)
    counter.add(750, 0, P0, now_s=0)
    counter.write(750, P0)
    finished = {P0: 750, P1: 0}
    read = counter.next_reading(finished, most=5000, now_s=0.5).max_items
    counter.add(read, 0, P0, now_s=0.5)
    finished[P0] += read
    assert counter.next_reading(finished, most=5000, now_s=0.9) == (0, frozenset())
    items, held = counter.next_reading(finished, most=5000, now_s=2)
    assert items == 188  # three quarters of a quarter, for one of the others
    assert held == {P0}


def test_a_single_partition_may_take_all_the_room() -> None:
    counter = InFlight(max_items=100, max_bytes=10**9)
    counter.add(99, 0, P0, now_s=0)
    assert counter.next_reading({P0: 99}, most=500, now_s=100) == (1, frozenset())


def test_a_delivery_wakes_the_reader_that_waits_for_a_busy_partition() -> None:
    counter = InFlight(max_items=1000, max_bytes=10**9)
    counter.add(750, 0, P0, now_s=0)
    assert counter.next_reading({P0: 0, P1: 0}, most=500, now_s=0).max_items == 0
    assert not counter.has_room.is_set()
    counter.remove(1, 0, P0, now_s=0.1)
    assert counter.has_room.is_set()


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([P0, P1, P2]),
            st.sampled_from(["read", "write", "deliver"]),
            st.integers(1, 50),
        ),
        max_size=80,
    ),
    max_items=st.integers(1, 200),
)
def test_the_limit_holds_and_reading_goes_on_when_all_is_delivered(
    steps: list[tuple[TopicPartition, str, int]], max_items: int
) -> None:
    counter = InFlight(max_items=max_items, max_bytes=10**9)
    there = dict.fromkeys((P0, P1, P2), 0)
    written = dict.fromkeys(there, 0)
    now_s = 0.0
    for partition, step, items in steps:
        now_s += 0.3
        if step == "write" and there[partition] and not written[partition]:
            written[partition] = min(items, there[partition])
            counter.write(written[partition], partition)
        elif step == "read":
            most, held = counter.next_reading(there, most=items, now_s=now_s)
            if most and partition not in held:
                counter.add(most, 0, partition, now_s=now_s)
                there[partition] += most
        elif leaving := written[partition]:
            counter.remove(leaving, 0, partition, now_s=now_s)
            there[partition] -= leaving
            written[partition] = 0
        assert counter.items == sum(there.values()) <= 2 * max_items
        assert counter.items - sum(written.values()) <= max_items
    for partition, items in there.items():
        if items:
            counter.remove(items, 0, partition, now_s=now_s)
    assert counter.next_reading(dict.fromkeys(there, 0), most=10, now_s=now_s).max_items > 0


def test_a_thousand_stuck_partitions_do_not_block_the_event_loop() -> None:
    """As in an outage of the brokers, when every partition waits: each is looked at once."""
    counter = InFlight(max_items=4096, max_bytes=10**9)
    finished = {TopicPartition("texts", number): 2 for number in range(1000)}
    for partition in finished:
        counter.add(2, 10, partition, now_s=0)
    durations_s = []
    for _ in range(5):
        began_s = time.perf_counter()
        assert counter.next_reading(finished, most=500, now_s=10).max_items > 0
        durations_s.append(time.perf_counter() - began_s)
    assert min(durations_s) < 0.05  # 0.001; in pairs it was 0.2 and more
