"""The guard: a systematic failure stops the service before a topic is drained."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.core.records import Position, TopicPartition
from streamlabel.consumer.routing.dead_letter_guard import DeadLetterGuard
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
    for _ in range(2):  # the good ones reset the run: two more are allowed, also across partitions
        guard.observe(P0, is_dead=True)
    guard.observe(P1, is_dead=True)
    with pytest.raises(DeadLetterGuardError, match="3 dead letters in a row in texts-0"):
        guard.observe(P0, is_dead=True)


def test_the_ratio_is_judged_only_on_a_full_window() -> None:
    guard = DeadLetterGuard(max_consecutive=0, max_ratio=0.5, window_items=10)
    for _ in range(9):
        guard.observe(P0, is_dead=True)
    with pytest.raises(DeadLetterGuardError, match="100% of the last 10 records"):
        guard.observe(P0, is_dead=True)


def test_limits_can_be_turned_off() -> None:
    off = DeadLetterGuard(max_consecutive=0, max_ratio=1.0, window_items=10)
    on = DeadLetterGuard(max_consecutive=999, max_ratio=1.0, window_items=10)
    for _ in range(999):
        off.observe(P0, is_dead=True)
        on.observe(P0, is_dead=True)
    off.observe(P0, is_dead=True)
    with pytest.raises(DeadLetterGuardError, match="1000 dead letters in a row"):
        on.observe(P0, is_dead=True)


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
            with pytest.raises(DeadLetterGuardError, match=rf"of the last {window} records"):
                guard.observe(P0, is_dead=is_dead)
            return
        guard.observe(P0, is_dead=is_dead)


def test_the_error_names_the_causes_that_are_frequent() -> None:
    guard = DeadLetterGuard(max_consecutive=4, max_ratio=1.0, window_items=10)
    for cause in ["inference_error: not finite"] * 3 + ["schema: no field 'text'"]:
        guard.observe(P0, is_dead=True, cause=cause)
    with pytest.raises(DeadLetterGuardError) as raised:
        guard.observe(P0, is_dead=True, cause="schema: other")
    assert (
        "of the last 5: 3 x inference_error: not finite; 1 x schema: no field 'text'; 1 x schema"
        in str(raised.value)
    )


def test_an_error_names_a_few_causes_of_late_only() -> None:
    guard = DeadLetterGuard(max_consecutive=500, max_ratio=1.0, window_items=10)
    for number in range(500):
        guard.observe(P0, is_dead=True, cause=f"inference_error: {number}")
    with pytest.raises(DeadLetterGuardError, match=r"of the last 100: ") as raised:
        guard.observe(P0, is_dead=True, cause="inference_error: last")
    assert len(str(raised.value)) < 400


def judged(guard: DeadLetterGuard, dead: list[bool], *, first: int = 0) -> None:
    causes = {offset: "" for offset, is_dead in enumerate(dead, start=first) if is_dead}
    guard.judge(P0, range(first, first + len(dead)), causes)


@given(
    known=st.lists(st.booleans(), min_size=1, max_size=60),
    refused=st.sets(st.integers(0, 59)),
    delivered=st.integers(0, 60),
    limit=st.integers(1, 8),
)
def test_a_refused_output_counts_at_the_place_of_its_record(
    known: list[bool], refused: set[int], delivered: int, limit: int
) -> None:
    """As if it had been known before."""
    late = sorted(offset for offset in refused if delivered <= offset < len(known))

    def longest(dead: list[bool]) -> int:
        run = most = 0
        for is_dead in dead:
            run = run + 1 if is_dead else 0
            most = max(most, run)
        return most

    if longest(known) > limit:
        return
    guard = DeadLetterGuard(max_consecutive=limit, max_ratio=1.0, window_items=10)
    judged(guard, known)
    guard.delivered(P0, delivered)
    dead = list(known)
    for offset in late:
        dead[offset] = True
        if longest(dead) > limit:
            with pytest.raises(DeadLetterGuardError, match="x output_refused"):
                guard.refused(Position(*P0, offset), cause="output_refused: 87")
            return
        guard.refused(Position(*P0, offset), cause="output_refused: 87")
        guard.refused(Position(*P0, offset), cause="output_refused: 87")  # begun again
    trailing = 0
    for is_dead in reversed(dead):
        if not is_dead:
            break
        trailing += 1
    more = limit - trailing
    judged(guard, [True] * more, first=len(known))
    with pytest.raises(DeadLetterGuardError, match="in a row"):
        judged(guard, [True], first=len(known) + more)


@given(dead=st.lists(st.booleans(), min_size=10, max_size=40))
def test_refused_outputs_count_in_the_window(dead: list[bool]) -> None:
    guard = DeadLetterGuard(max_consecutive=0, max_ratio=0.5, window_items=10)
    judged(guard, [False] * len(dead))
    seen = [False] * len(dead)
    for offset, is_dead in enumerate(dead):
        seen[offset] = is_dead
        if is_dead and sum(seen[-10:]) > 5:
            with pytest.raises(DeadLetterGuardError, match="60% of the last 10 records"):
                guard.refused(Position(*P0, offset), cause="output_refused: 87")
            return
        if is_dead:
            guard.refused(Position(*P0, offset), cause="output_refused: 87")


def stopped(step: Callable[[], None]) -> str:
    """The error that a step raises; empty if it raises none."""
    try:
        step()
    except DeadLetterGuardError as error:
        return str(error)
    return ""


def one_by_one(
    guard: DeadLetterGuard,
    partition: TopicPartition,
    offsets: Sequence[int],
    causes: Mapping[int, str],
) -> None:
    for offset in offsets:
        guard.judge(partition, [offset], causes)


@given(
    deliveries=st.lists(
        st.tuples(
            st.sampled_from([P0, P1]),
            st.lists(st.sampled_from([False, False, False, True]), min_size=1, max_size=12),
            st.integers(0, 3),  # records that were judged before, and come again
            st.sets(st.integers(0, 11), max_size=3),  # refused by the broker
            st.integers(0, 12),  # delivered of them
        ),
        max_size=20,
    ),
    limit=st.integers(1, 4),
    ratio=st.sampled_from([0.2, 0.5, 1.0]),
)
def test_records_that_are_counted_together_count_as_one_by_one(
    deliveries: list[tuple[TopicPartition, list[bool], int, set[int], int]],
    limit: int,
    ratio: float,
) -> None:
    """Also while some of them become dead letters later, and only a part is delivered."""
    together, alone = (
        DeadLetterGuard(max_consecutive=limit, max_ratio=ratio, window_items=10) for _ in range(2)
    )
    ends = {P0: 0, P1: 0}
    for partition, dead, again, refused, delivered in deliveries:
        first = max(0, ends[partition] - again)
        offsets = list(range(first, first + len(dead)))
        causes = {o: "schema: x" for o, is_dead in zip(offsets, dead, strict=True) if is_dead}
        ends[partition] = max(ends[partition], first + len(dead))

        error = stopped(partial(together.judge, partition, offsets, causes))
        assert error == stopped(partial(one_by_one, alone, partition, offsets, causes))
        if error:
            return
        for index in sorted(refused & set(range(len(dead)))):
            position = Position(*partition, first + index)
            error = stopped(partial(together.refused, position, cause="output_refused: 87"))
            assert error == stopped(partial(alone.refused, position, cause="output_refused: 87"))
            if error:
                return
        for guard in (together, alone):
            guard.delivered(partition, first + delivered)
