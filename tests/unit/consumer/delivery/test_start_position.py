"""Where reading begins: nothing that nobody chose to skip is skipped, whoever starts when."""

from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.core.topic_identity import TopicIdentity
from streamlabel.consumer.delivery.start_position import (
    At,
    Edge,
    First,
    Policy,
    Side,
    Stop,
    Stored,
    Wait,
    beginning,
)

OLD, NEW = "a" * 32, "b" * 32

OutOfRange = Literal["stop", "earliest", "latest"]


def begin(
    stored: dict[int, Stored],
    *,
    partition: int = 0,
    start_at: Side = "latest",
    out_of_range: OutOfRange = "stop",
    topic_id: str = NEW,
    was_recreated: bool = False,
    is_first: bool = True,
    end: int | None = None,
) -> At | Edge | First | Wait | Stop:
    return beginning(
        partition,
        stored,
        Policy(start_at, out_of_range),
        topic_id=topic_id,
        was_recreated=was_recreated,
        is_first=is_first,
        end=end,
    )


@pytest.mark.parametrize("topic_id", ["", NEW])
@pytest.mark.parametrize("tag", ["", NEW])
def test_a_stored_offset_is_where_reading_begins(topic_id: str, tag: str) -> None:
    assert begin({0: Stored(7, tag)}, topic_id=topic_id) == At(7)


def test_a_new_group_begins_where_start_at_says() -> None:
    assert begin({}, start_at="earliest") == Edge("earliest")
    assert begin({}, start_at="latest") == First("latest")


def test_only_the_owner_of_the_first_partition_stores_where_a_new_group_begins() -> None:
    assert begin({}, partition=3, is_first=False) == Wait()
    assert begin({}, partition=3, is_first=False, start_at="earliest") == Edge("earliest")


@pytest.mark.parametrize("start_at", ["earliest", "latest"])
def test_a_partition_that_is_found_later_begins_at_its_beginning(start_at: Side) -> None:
    assert begin({0: Stored(7, NEW)}, partition=1, start_at=start_at) == Edge("earliest")


@pytest.mark.parametrize("start_at", ["earliest", "latest"])
def test_an_offset_of_an_earlier_topic_is_out_of_range(start_at: Side) -> None:
    stored = {0: Stored(7, OLD)}
    assert begin(stored, start_at=start_at) == Stop("recreated")
    for side in ("earliest", "latest"):
        jump = begin(stored, start_at=start_at, out_of_range=side)
        assert jump == Edge(side, is_jump=True)


def test_a_topic_that_this_process_saw_replaced_is_out_of_range_without_offsets_too() -> None:
    assert begin({}, was_recreated=True, start_at="earliest") == Stop("recreated")
    assert begin({}, was_recreated=True, out_of_range="earliest") == First("earliest")
    assert begin({0: Stored(7)}, was_recreated=True) == Stop("recreated")  # of which one?
    assert begin({0: Stored(7, NEW)}, was_recreated=True) == At(7)


def test_only_an_offset_behind_the_end_is_out_of_range() -> None:
    assert begin({0: Stored(7)}, end=7) == At(7)
    assert begin({0: Stored(8)}, end=7) == Stop("behind_the_end")
    assert begin({0: Stored(8)}, end=7, out_of_range="latest") == Edge("latest", is_jump=True)
    assert begin({}, end=7) == Stop("behind_the_end")


@dataclass
class Group:
    """One group on one topic: what stands in it, what is stored, what members have taken."""

    start_at: Side
    out_of_range: OutOfRange
    ends: dict[int, int]
    topic_id: str = OLD
    stored: dict[int, Stored] = field(default_factory=dict)
    read: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    wanted: dict[tuple[str, int], int] = field(default_factory=dict)  # from here on
    has_begun: bool = False
    has_stopped: bool = False
    identity: TopicIdentity = field(default_factory=TopicIdentity)

    def write(self, number: int) -> None:
        """Append a record to a partition."""
        partition = number % len(self.ends)
        self.ends[partition] += 1

    def add_partition(self, _: int) -> None:
        """It is empty, and seen at the next start."""
        self.ends[len(self.ends)] = 0

    def forget_the_process(self, _: int) -> None:
        """The next start knows only what is stored."""
        self.identity = TopicIdentity()

    def recreate(self, number: int) -> None:
        """Delete the topic and create it again: brokers delete offsets, or a late commit stays."""
        if self.topic_id == OLD and self.has_begun:
            self.topic_id = NEW
            self.ends = dict.fromkeys(self.ends, 0)
            if number % 2:
                self.stored.clear()

    def run(self, number: int) -> None:
        """Admit partitions in any order, read some of the records, commit some of these."""
        self.identity.saw(self.topic_id)
        order = sorted(self.ends, key=lambda partition: (partition * 7 + number) % 5)
        if not self.has_begun and self.start_at == "latest":
            for partition, end in self.ends.items():
                self.wanted[self.topic_id, partition] = end
        waiting = list(order)
        while waiting:
            partition = waiting.pop(0)
            at = self.admit(partition)
            if at is None:
                if self.has_stopped:
                    return
                waiting.append(partition)
                continue
            self.has_begun = True
            upto = at + (self.ends[partition] - at) * (number % 3) // 2
            self.read.setdefault((self.topic_id, partition), set()).update(range(at, upto))
            if upto > at and number % 4:
                self.stored[partition] = Stored(upto, self.topic_id)

    def admit(self, partition: int) -> int | None:
        """Return where the partition begins; None: not yet, or never."""
        choice = beginning(
            partition,
            self.stored,
            Policy(self.start_at, self.out_of_range),
            topic_id=self.topic_id,
            was_recreated=self.identity.was_recreated,
            is_first=partition == 0,
        )
        if isinstance(choice, First):
            edges = self.ends if choice.side == "latest" else dict.fromkeys(self.ends, 0)
            self.stored |= {each: Stored(at, self.topic_id) for each, at in edges.items()}
            return None
        if isinstance(choice, At):
            assert choice.offset <= self.ends[partition]
            return choice.offset
        if isinstance(choice, Edge):
            offset = 0 if choice.side == "earliest" else self.ends[partition]
            if choice.is_jump:
                self.stored[partition] = Stored(offset, self.topic_id)
            return offset
        self.has_stopped = isinstance(choice, Stop)
        return None

    def lost(self) -> set[tuple[int, int]]:
        """Records that were never read and that a committed offset stands behind."""
        return {
            (partition, offset)
            for partition, stored in self.stored.items()
            if stored.topic_id == self.topic_id
            for offset in range(self.wanted.get((self.topic_id, partition), 0), stored.next_offset)
            if offset not in self.read.get((self.topic_id, partition), set())
        }


_STEPS = st.sampled_from(
    [Group.write, Group.write, Group.run, Group.add_partition, Group.forget_the_process]
)


@given(
    start_at=st.sampled_from(["earliest", "latest"]),
    partitions=st.integers(1, 3),
    steps=st.lists(st.tuples(_STEPS, st.integers(0, 11)), max_size=30),
)
def test_any_order_of_starts_new_partitions_and_records_skips_only_what_was_there_at_the_start(
    start_at: Side, partitions: int, steps: list[tuple[object, int]]
) -> None:
    group = Group(start_at, "stop", dict.fromkeys(range(partitions), 2))
    for step, number in steps:
        step(group, number)  # type: ignore[operator]
    for number in (2, 5):  # reads all
        group.run(number)
    assert not group.has_stopped
    assert group.lost() == set()
    for partition, end in group.ends.items():
        first = group.wanted.get((OLD, partition), 0)
        assert set(range(first, end)) <= group.read.get((OLD, partition), set())


@given(
    start_at=st.sampled_from(["earliest", "latest"]),
    steps=st.lists(
        st.tuples(st.one_of(_STEPS, st.just(Group.recreate)), st.integers(0, 11)), max_size=30
    ),
)
def test_a_recreated_topic_is_read_from_its_beginning(
    start_at: Side, steps: list[tuple[object, int]]
) -> None:
    group = Group(start_at, "earliest", {0: 2, 1: 2})
    group.run(5)
    for step, number in steps:
        if step is not Group.forget_the_process:  # brokers drop offsets: ``start_at`` decides then
            step(group, number)  # type: ignore[operator]
    group.run(5)
    assert not group.has_stopped
    if group.topic_id == NEW:
        for partition, end in group.ends.items():
            assert set(range(end)) <= group.read.get((NEW, partition), set())


@given(start_at=st.sampled_from(["earliest", "latest"]), number=st.integers(0, 11))
def test_a_recreated_topic_stops_a_service_that_is_told_to(start_at: Side, number: int) -> None:
    group = Group(start_at, "stop", {0: 2, 1: 2})
    group.run(5)
    group.recreate(number)
    group.run(number)
    assert group.has_stopped
    assert all(each.topic_id == OLD for each in group.stored.values())


def test_an_id_that_was_replaced_comes_from_a_broker_that_is_behind() -> None:
    identity = TopicIdentity()
    assert [identity.saw(each) for each in ("", OLD, OLD, NEW, OLD, NEW)] == [
        False, False, False, True, False, False,
    ]  # fmt: skip
    assert identity.current == NEW
