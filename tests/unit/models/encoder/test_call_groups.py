"""Rows are grouped so that padding never costs more than the calls it saves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.models.encoder import call_groups
from streamlabel.models.encoder.call_groups import CallGroups, plan_groups


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


def after_calls(
    device: str, monkeypatch: pytest.MonkeyPatch, *, call_s: float, token_s: float
) -> CallGroups:
    """Return the groups of a device after calls that cost so much, on a clock of the test."""
    now_s = 0.0
    monkeypatch.setattr(call_groups, "perf_counter", lambda: now_s)
    groups = CallGroups(device)
    for number in range(40):
        lengths = sorted((10 + 37 * number % 200, 10, 20 + number), reverse=True)
        plan = groups.plan(lengths)
        with groups.measured(lengths, plan):
            padded = sum(lengths[start] * (end - start) for start, end in plan)
            now_s += call_s * len(plan) + token_s * padded
    return groups


@pytest.mark.parametrize("call_tokens", [16, 700, 5000])
def test_a_device_groups_by_what_its_calls_cost(
    monkeypatch: pytest.MonkeyPatch, call_tokens: int
) -> None:
    learned = after_calls("cuda:0", monkeypatch, call_s=1e-6 * call_tokens, token_s=1e-6)
    assert learned.call_tokens == pytest.approx(call_tokens, rel=0.02)


def test_before_calls_differ_the_first_guess_holds_and_no_cost_is_unlimited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert CallGroups("npu:0").call_tokens == 2048
    assert after_calls("cuda", monkeypatch, call_s=1.0, token_s=0.0).call_tokens == 8192


def test_a_cpu_keeps_its_measured_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    assert after_calls("cpu", monkeypatch, call_s=0.1, token_s=1e-6).call_tokens == 64
