"""No record comes out of a partition that is not ours, or from before a seek."""

from dataclasses import dataclass

from aiokafka import TopicPartition as KafkaPartition
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.kafka_gate import Gate

P = KafkaPartition("texts", 0)


@dataclass
class Read:
    """All that the gate looks at of a record."""

    offset: int


def reads(first: int, last: int) -> list[Read]:
    return [Read(offset) for offset in range(first, last + 1)]


def opened(offset: int = 0) -> Gate:
    gate = Gate()
    gate.own(P)
    gate.admit(P, gate.epoch(P), offset)
    gate.take_admitted()
    return gate


def test_an_owned_partition_is_not_ready_before_it_is_admitted_and_taken() -> None:
    gate = Gate()
    gate.own(P)
    assert gate.ready() == {}
    gate.admit(P, gate.epoch(P), 5)
    assert gate.ready() == {}
    assert gate.take_admitted() == [(P, 5)]
    assert gate.is_ready(P)
    assert gate.take_admitted() == []


def test_an_admission_that_outlived_its_epoch_changes_nothing() -> None:
    gate = Gate()
    gate.own(P)
    epoch = gate.epoch(P)
    gate.disown(P)
    gate.own(P)
    gate.admit(P, epoch, 5)
    assert gate.take_admitted() == []


def test_a_fetch_that_began_before_a_revoke_and_return_is_dropped() -> None:
    gate = opened(0)
    asked = gate.ready()
    gate.disown(P)
    gate.own(P)
    gate.admit(P, gate.epoch(P), 2)
    gate.take_admitted()
    assert gate.accept(P, asked, reads(0, 9)) == ()
    assert [read.offset for read in gate.accept(P, gate.ready(), reads(2, 4))] == [2, 3, 4]


def test_records_below_the_position_are_not_returned_again() -> None:
    gate = opened(3)
    asked = gate.ready()
    assert [read.offset for read in gate.accept(P, asked, reads(1, 5))] == [3, 4, 5]
    assert [read.offset for read in gate.accept(P, asked, reads(4, 6))] == [6]
    assert gate.positions() == {P: 7}


def test_shutting_keeps_the_partition_committable_and_disowning_does_not() -> None:
    gate = opened(3)
    gate.shut(P)
    assert gate.may_commit(P, 4)
    gate.disown(P)
    assert not gate.may_commit(P, 4)


def test_an_offset_older_than_the_beginning_is_never_committed() -> None:
    gate = opened(3)
    assert not gate.may_commit(P, 2)
    assert gate.may_commit(P, 3)


def test_markers_move_the_position_and_never_backwards() -> None:
    gate = opened(3)
    gate.advance(P, gate.ready(), 8)
    gate.advance(P, gate.ready(), 5)
    assert gate.positions() == {P: 8}


@given(st.lists(st.tuples(st.sampled_from(["gain", "lose", "shut", "fetch"]), st.integers(0, 9))))
def test_what_comes_out_is_always_ahead_of_the_last_seek(steps: list[tuple[str, int]]) -> None:
    gate = Gate()
    asked = gate.ready()
    next_offset: int | None = None
    for step, number in steps:
        if step == "gain":
            gate.own(P)
            gate.admit(P, gate.epoch(P), number)
            gate.take_admitted()
            next_offset = number
        elif step == "lose":
            gate.disown(P)
            next_offset = None
        elif step == "shut":
            gate.shut(P)
            next_offset = None
        else:  # a fetch that began at any earlier time
            out = gate.accept(P, asked, reads(number, number + 3))
            for read in out:
                assert next_offset is not None
                assert read.offset >= next_offset
                next_offset = read.offset + 1
            asked = gate.ready()
