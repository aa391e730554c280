"""What a call and a token cost is found from calls of both kinds, and not said before."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.models.core.call_cost import CallCost

SIZES = [16, 40, 128, 512, 1024]


def learned(call_s: float, token_s: float, *, noise: float = 0.0, count: int = 60) -> CallCost:
    rng = random.Random(3)
    cost = CallCost()
    for number in range(count):
        tokens = SIZES[number % len(SIZES)]
        seconds = (call_s + token_s * tokens) * rng.lognormvariate(0, noise)
        cost.learn(tokens=tokens, seconds=seconds)
    return cost


@given(call_s=st.floats(1e-5, 1.0), token_s=st.floats(1e-7, 1e-2))
def test_exact_calls_give_exact_costs(call_s: float, token_s: float) -> None:
    fitted = learned(call_s, token_s).fitted()
    assert fitted is not None
    assert fitted[0] + 500 * fitted[1] == pytest.approx(call_s + 500 * token_s, rel=1e-3)


def test_noise_of_a_fifth_leaves_both_costs_within_a_third() -> None:
    fitted = learned(0.01, 1e-4, noise=0.2, count=400).fitted()
    assert fitted is not None
    assert fitted[0] == pytest.approx(0.01, rel=0.33)
    assert fitted[1] == pytest.approx(1e-4, rel=0.33)


def test_calls_of_one_size_say_nothing() -> None:
    cost = CallCost()
    for _ in range(100):
        cost.learn(tokens=512, seconds=0.1)
    assert cost.fitted() is None
    assert cost.call_tokens() is None
    assert cost.least_batch(1024, loss=0.03) is None


def test_nothing_is_said_before_the_sixteenth_call() -> None:
    assert learned(0.01, 1e-4, count=15).fitted() is None
    assert learned(0.01, 1e-4, count=16).fitted() is not None


def test_a_change_of_the_device_is_learned() -> None:
    cost = learned(0.01, 1e-4)
    for number in range(1500):
        tokens = SIZES[number % len(SIZES)]
        cost.learn(tokens=tokens, seconds=0.001 + 1e-3 * tokens)
    fitted = cost.fitted()
    assert fitted is not None
    assert fitted[0] == pytest.approx(0.001, rel=0.2)
    assert fitted[1] == pytest.approx(1e-3, rel=0.05)


def test_several_calls_of_one_measurement_share_its_time() -> None:
    cost = CallCost()
    for number in range(40):
        calls, tokens = 1 + number % 3, 100 * (1 + number % 7)
        cost.learn(calls=calls, tokens=tokens, seconds=0.02 * calls + 1e-4 * tokens)
    assert cost.call_tokens() == pytest.approx(200, rel=1e-3)


@given(
    call_s=st.floats(0.0, 1.0), token_s=st.floats(1e-7, 1e-2), most=st.integers(1, 20_000),
    loss=st.floats(0.01, 0.5),
)  # fmt: skip
def test_the_least_batch_costs_no_more_than_the_loss(
    call_s: float, token_s: float, most: int, loss: float
) -> None:
    cost = learned(call_s, token_s)
    least = cost.least_batch(most, loss=loss)
    fitted = cost.fitted()
    assert least is not None
    assert fitted is not None
    call_s, token_s = fitted

    def a_token(batch: int) -> float:
        return call_s / batch + token_s

    assert 1 <= least <= most
    allowed = (1 + loss) * a_token(most) + call_s / least / least  # rounded to whole tokens
    assert a_token(least) <= allowed * (1 + 1e-9)


def test_a_call_whose_tokens_cost_nothing_is_worth_a_full_batch() -> None:
    assert learned(0.01, 0.0).least_batch(1024, loss=0.03) == 1024


def test_times_of_zero_are_ignored() -> None:
    cost = CallCost()
    cost.learn(tokens=5, seconds=0.0)
    assert cost.fitted() is None
