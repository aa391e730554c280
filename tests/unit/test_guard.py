"""The guard: a systematic failure stops the service before a topic is drained."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.guard import DeadLetterGuard
from streamlabel.consumer.records import TopicPartition
from streamlabel.errors import DeadLetterGuardError

P0, P1 = TopicPartition("texts", 0), TopicPartition("texts", 1)


def test_a_run_is_judged_at_its_limit() -> None:
    guard = DeadLetterGuard(max_consecutive=3, max_ratio=1.0, window_items=10)
    for _ in range(3):
        guard.observe(P0, is_dead=True)
    with pytest.raises(DeadLetterGuardError, match=r"4 dead letters in a row in texts-0"):
        guard.observe(P0, is_dead=True)


def test_runs_are_counted_per_partition_and_end_with_a_good_record() -> None:
    guard = DeadLetterGuard(max_consecutive=2, max_ratio=1.0, window_items=10)
    for _ in range(20):
        guard.observe(P0, is_dead=True)
        guard.observe(P1, is_dead=True)
        guard.observe(P0, is_dead=False)
        guard.observe(P1, is_dead=False)


def test_the_ratio_is_judged_only_on_a_full_window() -> None:
    guard = DeadLetterGuard(max_consecutive=0, max_ratio=0.5, window_items=10)
    for _ in range(9):
        guard.observe(P0, is_dead=True)
    with pytest.raises(DeadLetterGuardError, match="100% of the last 10 records"):
        guard.observe(P0, is_dead=True)


def test_limits_can_be_turned_off() -> None:
    guard = DeadLetterGuard(max_consecutive=0, max_ratio=1.0, window_items=10)
    for _ in range(1000):
        guard.observe(P0, is_dead=True)


@given(
    outcomes=st.lists(st.booleans(), max_size=200),
    ratio=st.floats(0.0, 0.99),
    window=st.integers(10, 30),
)
def test_the_ratio_is_that_of_the_last_window(
    outcomes: list[bool], ratio: float, window: int
) -> None:
    guard = DeadLetterGuard(max_consecutive=0, max_ratio=ratio, window_items=window)
    for seen, is_dead in enumerate(outcomes, start=1):
        last = outcomes[max(0, seen - window) : seen]
        if is_dead and seen >= window and sum(last) / window > ratio:
            with pytest.raises(DeadLetterGuardError):
                guard.observe(P0, is_dead=is_dead)
            return
        guard.observe(P0, is_dead=is_dead)
