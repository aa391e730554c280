"""The token budget: lowered once per incident, to below what failed; it comes back by itself."""

from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.batching.token_budget import TokenBudget


def budget(tokens: int = 16_384) -> TokenBudget:
    return TokenBudget(tokens, size=sum)


def test_it_falls_once_to_what_worked_and_not_at_every_level() -> None:
    limit = budget()
    limit.settled(failed=[[16_000], [8_000]], fitted=[[4_000], [4_000]])
    assert limit.tokens == 4_000
    limit.settled(failed=[[16_000]], fitted=[[4_000]])  # a batch that was on its way already
    assert limit.tokens == 4_000


def test_a_text_that_never_fits_changes_nothing() -> None:
    limit = budget()
    for _ in range(20):
        limit.settled(failed=[], fitted=[[100], [200]])
    assert limit.tokens == 16_384


def test_it_comes_back_step_by_step_and_no_further() -> None:
    limit = budget(1_000)
    limit.settled(failed=[[900]], fitted=[[450]])
    assert limit.tokens == 450
    limit.fitted([10])
    assert limit.tokens == 453
    for _ in range(300):
        limit.fitted([10])
    assert limit.tokens == 1_000


def test_it_never_falls_below_a_size_that_worked() -> None:
    limit = budget()
    limit.fitted([12_000])
    limit.settled(failed=[[16_000]], fitted=[[500]])
    assert limit.tokens == 12_000


def test_what_worked_before_is_forgotten_when_it_fails() -> None:
    limit = budget()
    limit.fitted([16_000])
    limit.settled(failed=[[12_000]], fitted=[[6_000], [6_000]])
    assert limit.tokens == 6_000


def test_what_fails_once_and_then_works_was_not_too_large() -> None:
    limit = budget()
    limit.settled(failed=[[500]], fitted=[[500]])
    assert limit.tokens == 16_384


def test_changes_are_told_with_their_direction() -> None:
    heard: list[tuple[int, bool]] = []
    limit = TokenBudget(256, size=sum, on_change=lambda n, fell: heard.append((n, fell)))
    limit.settled(failed=[[200]], fitted=[])
    limit.fitted([1])
    assert heard == [(100, True), (101, False)]


@given(
    memory=st.integers(1, 2_000),
    sizes=st.lists(st.integers(1, 1_000), max_size=60),
)
def test_on_a_device_of_any_size_it_ends_where_batches_work(memory: int, sizes: list[int]) -> None:
    limit = budget(1_000)
    largest = 0
    for size in sizes:
        wanted = min(size, limit.tokens)
        parts, failed, fitted = [wanted], [], []
        while parts:
            part = parts.pop()
            if part <= memory:
                fitted.append([part])
            elif part > 1:
                failed.append([part])
                parts += [part // 2, part - part // 2]
        largest = max([largest, *map(sum, fitted)])
        if failed:
            limit.settled(failed=failed, fitted=fitted)
            assert limit.tokens < min(map(sum, failed))
        else:
            limit.fitted([wanted])
        assert min(largest, 1_000) <= limit.tokens <= 1_000
