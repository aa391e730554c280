"""How many requests are answered, by account and by address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.console.access.rates import RateLimits, Rates, asked_for


@pytest.mark.parametrize(
    ("method", "path", "asked"),
    [
        ("GET", "/review", "page"),
        ("POST", "/review", "decision"),
        ("POST", "/undo", "decision"),
        ("POST", "/lead/items/7/reopen", "decision"),
        ("POST", "/accounts", "decision"),
        ("POST", "/lease", "page"),
        ("GET", "/lead/search", "search"),
        ("GET", "/lead/items/7", "search"),
        ("GET", "/lead/quality", "search"),
        ("GET", "/mine", "search"),
        ("GET", "/text/abc", "search"),
        ("GET", "/lead", "page"),
    ],
)
def test_a_request_is_of_one_kind(method: str, path: str, asked: str) -> None:
    assert asked_for(method, path) == asked


def test_a_minutes_share_may_be_used_at_once_and_comes_back_evenly() -> None:
    rates = Rates(RateLimits(decisions=3))
    waits = [rates.of_account("ana", "decision", now_s=0) for _ in range(4)]
    assert waits == [0, 0, 0, pytest.approx(20)]
    assert rates.of_account("ana", "decision", now_s=19.9) > 0
    assert rates.of_account("ana", "decision", now_s=20) == 0
    assert rates.of_account("ana", "decision", now_s=20) == pytest.approx(20)


def test_accounts_addresses_and_kinds_are_counted_apart() -> None:
    rates = Rates(RateLimits(decisions=1, searches=1, requests=3, of_address=1))
    assert rates.of_account("ana", "decision", now_s=0) == 0
    assert rates.of_account("ana", "search", now_s=0) == 0
    assert rates.of_account("ben", "decision", now_s=0) == 0
    assert rates.of_account("ana", "page", now_s=0) == 0
    assert rates.of_account("ana", "page", now_s=0) == pytest.approx(20)
    assert rates.of_address("ana", now_s=0) == 0  # an address may be written like a name
    assert rates.of_address("ana", now_s=0) == pytest.approx(60)


def test_without_limits_everything_is_answered() -> None:
    rates = Rates(RateLimits())
    assert not any(rates.of_account("ana", "decision", now_s=0) for _ in range(1000))
    assert not any(rates.of_address("1.2.3.4", now_s=0) for _ in range(1000))


@given(
    limit=st.integers(1, 50),
    steps=st.lists(st.floats(0, 30), min_size=1, max_size=200),
)
def test_nobody_gets_more_than_the_limit_and_who_waits_gets_in(
    limit: int, steps: list[float]
) -> None:
    rates = Rates(RateLimits(of_address=limit))
    now_s, answered = 0.0, 0
    for step in steps:
        now_s += step
        wait_s = rates.of_address("a", now_s=now_s)
        answered += wait_s == 0
        assert 0 <= wait_s <= 60 / limit + 1e-6
    assert answered <= limit + now_s * limit / 60 + 1e-6
    wait_s = rates.of_address("a", now_s=now_s)
    assert wait_s == 0 or rates.of_address("a", now_s=now_s + wait_s + 1e-6) == 0


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    rates = Rates(RateLimits(of_address=1))
    assert rates.of_address("a", now_s=100) == 0
    assert rates.of_address("a", now_s=40) == pytest.approx(60)


def test_the_memory_is_bounded() -> None:
    rates = Rates(RateLimits(of_address=1))
    for number in range(10_001):
        rates.of_address(str(number), now_s=0)
    assert rates.of_address("0", now_s=0) == 0  # the longest unused was forgotten
    assert rates.of_address("10000", now_s=0) > 0
