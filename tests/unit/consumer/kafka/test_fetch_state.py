"""No record comes out of a partition that is not ours, or from before a seek."""

from dataclasses import dataclass

from aiokafka import TopicPartition as KafkaPartition
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.kafka.fetch_state import FetchState

P = KafkaPartition("texts", 0)


@dataclass
class Read:
    """All that the fetch state looks at of a record."""

    offset: int


def reads(first: int, last: int) -> list[Read]:
    return [Read(offset) for offset in range(first, last + 1)]


def opened(offset: int = 0) -> FetchState:
    fetch_state = FetchState()
    fetch_state.own(P)
    fetch_state.admit(P, fetch_state.epoch(P), offset)
    fetch_state.take_admitted()
    return fetch_state


def test_an_owned_partition_is_not_ready_before_it_is_admitted_and_taken() -> None:
    fetch_state = FetchState()
    fetch_state.own(P)
    assert fetch_state.ready() == {}
    fetch_state.admit(P, fetch_state.epoch(P), 5)
    assert fetch_state.ready() == {}
    assert fetch_state.take_admitted() == [(P, 5)]
    assert fetch_state.is_ready(P)
    assert fetch_state.take_admitted() == []


@given(
    end=st.integers(0, 40),
    first=st.integers(0, 40),
    offsets=st.sets(st.integers(0, 60)),
    sizes=st.lists(st.integers(1, 9), max_size=20),
    last=st.integers(0, 60),
)
def test_a_range_ends_exactly_at_its_end_whatever_offsets_hold_no_record(
    end: int, first: int, offsets: set[int], sizes: list[int], last: int
) -> None:
    """Compaction and transactions leave gaps: before the end, and across it."""
    end = max(first, end)
    fetch_state = FetchState()
    fetch_state.own(P)
    fetch_state.end_at(P, end)
    fetch_state.admit(P, fetch_state.epoch(P), first)
    fetch_state.take_admitted()
    waiting = [Read(offset) for offset in sorted(offsets) if offset >= first]
    seen: list[int] = []
    for size in [*sizes, 61]:
        chunk, waiting = waiting[:size], waiting[size:]
        seen += [each.offset for each in fetch_state.accept(P, fetch_state.ready(), chunk)]
    assert seen == [offset for offset in sorted(offsets) if first <= offset < end]
    fetch_state.advance(P, fetch_state.ready(), max(end, last))
    assert fetch_state.has_ended(P)
    assert fetch_state.positions() == {P: end}
    fetch_state.disown(P)
    assert not fetch_state.has_ended(P)
    assert fetch_state.end(P) is None


def test_a_partition_without_an_end_never_ends() -> None:
    fetch_state = opened(5)
    fetch_state.advance(P, fetch_state.ready(), 10**12)
    assert not fetch_state.has_ended(P)


def test_an_admission_that_outlived_its_epoch_changes_nothing() -> None:
    fetch_state = FetchState()
    fetch_state.own(P)
    epoch = fetch_state.epoch(P)
    fetch_state.disown(P)
    fetch_state.own(P)
    fetch_state.admit(P, epoch, 5)
    assert fetch_state.take_admitted() == []


def test_a_fetch_that_began_before_a_revoke_and_return_is_dropped() -> None:
    fetch_state = opened(0)
    asked = fetch_state.ready()
    fetch_state.disown(P)
    fetch_state.own(P)
    fetch_state.admit(P, fetch_state.epoch(P), 2)
    fetch_state.take_admitted()
    assert fetch_state.accept(P, asked, reads(0, 9)) == ()
    assert [read.offset for read in fetch_state.accept(P, fetch_state.ready(), reads(2, 4))] == [
        2,
        3,
        4,
    ]


def test_records_below_the_position_are_not_returned_again() -> None:
    fetch_state = opened(3)
    asked = fetch_state.ready()
    assert [read.offset for read in fetch_state.accept(P, asked, reads(1, 5))] == [3, 4, 5]
    assert [read.offset for read in fetch_state.accept(P, asked, reads(4, 6))] == [6]
    assert fetch_state.positions() == {P: 7}


def test_shutting_keeps_the_partition_committable_and_disowning_does_not() -> None:
    fetch_state = opened(3)
    fetch_state.shut(P)
    assert fetch_state.may_commit(P, 4)
    fetch_state.disown(P)
    assert not fetch_state.may_commit(P, 4)


def test_an_offset_older_than_the_beginning_is_never_committed() -> None:
    fetch_state = opened(3)
    assert not fetch_state.may_commit(P, 2)
    assert fetch_state.may_commit(P, 3)


def test_markers_move_the_position_and_never_backwards() -> None:
    fetch_state = opened(3)
    fetch_state.advance(P, fetch_state.ready(), 8)
    fetch_state.advance(P, fetch_state.ready(), 5)
    assert fetch_state.positions() == {P: 8}


@given(st.lists(st.tuples(st.sampled_from(["gain", "lose", "shut", "fetch"]), st.integers(0, 9))))
def test_what_comes_out_is_always_ahead_of_the_last_seek(steps: list[tuple[str, int]]) -> None:
    fetch_state = FetchState()
    asked = fetch_state.ready()
    next_offset: int | None = None
    for step, number in steps:
        if step == "gain":
            fetch_state.own(P)
            fetch_state.admit(P, fetch_state.epoch(P), number)
            fetch_state.take_admitted()
            next_offset = number
        elif step == "lose":
            fetch_state.disown(P)
            next_offset = None
        elif step == "shut":
            fetch_state.shut(P)
            next_offset = None
        else:  # a fetch that began at any earlier time
            out = fetch_state.accept(P, asked, reads(number, number + 3))
            for read in out:
                assert next_offset is not None
                assert read.offset >= next_offset
                next_offset = read.offset + 1
            asked = fetch_state.ready()
