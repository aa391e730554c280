"""A transaction that stays open is told once, and once when it ends."""

from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.core.ports import HeldBack
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.observability.open_transactions import OpenTransactions, Stuck

P0 = TopicPartition("texts", 0)


def test_a_transaction_that_stays_open_is_told_once_with_its_place_and_once_at_its_end() -> None:
    seen = OpenTransactions()
    assert seen.saw({P0: HeldBack(5, 3)}, now_s=0) == []
    assert seen.saw({P0: HeldBack(5, 9)}, now_s=29.9) == []
    assert seen.saw({P0: HeldBack(5, 30)}, now_s=30) == [Stuck(P0, 5, 30, 30)]
    assert seen.saw({P0: HeldBack(5, 40)}, now_s=100) == []
    assert seen.saw({P0: HeldBack(46, 0)}, now_s=101) == [Stuck(P0, 5, 0, 101)]
    assert seen.saw({P0: HeldBack(46, 0)}, now_s=500) == []


def test_a_partition_that_went_and_came_back_begins_anew() -> None:
    seen = OpenTransactions()
    seen.saw({P0: HeldBack(5, 3)}, now_s=0)
    assert seen.saw({}, now_s=20) == []
    assert seen.saw({P0: HeldBack(5, 3)}, now_s=31) == []


@given(st.lists(st.floats(0.01, 29), min_size=1, max_size=50))
def test_transactions_that_end_in_time_are_never_told_however_many(lengths_s: list[float]) -> None:
    seen = OpenTransactions()
    now_s = 0.0
    for number, length_s in enumerate(lengths_s):  # there is always one open
        assert seen.saw({P0: HeldBack(number, 2)}, now_s=now_s) == []
        assert seen.open_s(P0, now_s=now_s) == 0
        now_s += length_s
        assert seen.saw({P0: HeldBack(number, 2)}, now_s=now_s) == []
        assert 0 < seen.open_s(P0, now_s=now_s) < 29.1


def test_how_long_a_transaction_is_open_counts_from_when_it_was_first_seen() -> None:
    seen = OpenTransactions()
    assert seen.open_s(P0, now_s=5) == 0
    for now_s in (10, 20, 400):
        seen.saw({P0: HeldBack(5, 3)}, now_s=now_s)
        assert seen.open_s(P0, now_s=now_s) == now_s - 10
    seen.saw({P0: HeldBack(46, 0)}, now_s=401)
    seen.saw({P0: HeldBack(46, 0)}, now_s=900)
    assert seen.open_s(P0, now_s=900) == 0
