"""Rows are grouped so that padding never costs more than the calls it saves."""

from hypothesis import given
from hypothesis import strategies as st

from streamlabel.models.encoder.padded import plan_groups


@given(st.lists(st.integers(1, 512)), st.integers(0, 500))
def test_groups_cover_all_rows_and_their_padding_is_bounded(lengths: list[int], cost: int) -> None:
    lengths.sort(reverse=True)
    groups = plan_groups(lengths, call_tokens=cost)
    assert [i for start, end in groups for i in range(start, end)] == list(range(len(lengths)))
    for start, end in groups:
        assert sum(lengths[start] - length for length in lengths[start:end]) <= cost


def test_a_group_ends_when_its_padding_costs_more_than_a_call() -> None:
    assert plan_groups([10, 8, 8, 8], call_tokens=4) == [(0, 3), (3, 4)]
    assert plan_groups([10, 8, 8, 8], call_tokens=6) == [(0, 4)]
    assert plan_groups([10, 8, 8, 8], call_tokens=0) == [(0, 1), (1, 4)]
