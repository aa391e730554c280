"""Bounds of a mean that hold at all times together."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlabel.models.calibration.betting import running_lower_bounds, running_upper_bounds

STEPS: Any = {"lowest": -1.0, "highest": 1.0}


def drawn(rng: np.random.Generator, size: int, *, worse: float, better: float) -> list[float]:
    chances = [better, 1 - worse - better, worse]
    return [float(each) for each in rng.choice([-1.0, 0.0, 1.0], p=chances, size=size)]


def test_no_bound_is_given_without_values_and_the_first_ones_are_wide() -> None:
    assert len(running_upper_bounds([], confidence=0.95, **STEPS)) == 0
    bounds = running_upper_bounds([-1.0] * 3, confidence=0.95, **STEPS)
    assert list(bounds) == [1.0, 1.0, 1.0]


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=60))
@settings(max_examples=25, deadline=None)
def test_bounds_only_become_narrower_and_stay_in_the_range(values: list[float]) -> None:
    upper = running_upper_bounds(values, confidence=0.9, **STEPS)
    lower = running_lower_bounds(values, confidence=0.9, **STEPS)
    assert (np.diff(upper) <= 0).all()
    assert (np.diff(lower) >= 0).all()
    assert ((upper <= 1) & (lower >= -1)).all()


def test_equal_models_are_told_to_be_equal_within_a_margin() -> None:
    values = drawn(np.random.default_rng(5), 2000, worse=0.02, better=0.02)
    assert running_upper_bounds(values, confidence=0.95, **STEPS)[-1] <= 0.03
    assert running_lower_bounds(values, confidence=0.95, **STEPS)[-1] >= -0.03


def test_a_worse_model_is_never_called_not_worse_more_often_than_allowed() -> None:
    """At any time: the smallest bound of a run counts. 400 runs; at most 5 % may be wrong."""
    rng = np.random.default_rng(7)
    broken = sum(
        running_upper_bounds(drawn(rng, 200, worse=0.3, better=0.2), confidence=0.95, **STEPS)[-1]
        < 0.1 - 1e-9
        for _ in range(400)
    )
    assert broken <= 400 * 0.05 + 2 * (400 * 0.05 * 0.95) ** 0.5


def test_weights_undo_how_records_were_drawn() -> None:
    """One record in ten of the easy part was looked at, and all of the hard part."""
    rng = np.random.default_rng(11)
    hard, easy = 0.5, 0.02
    values, weights = [], []
    for _ in range(8000):
        is_hard = rng.random() < 0.2
        if is_hard or rng.random() < 0.1:
            values.append(float(rng.random() < (hard if is_hard else easy)))
            weights.append(1.0 if is_hard else 10.0)
    true = 0.2 * hard + 0.8 * easy
    look: Any = {"lowest": 0.0, "highest": 1.0, "confidence": 0.99}
    upper = running_upper_bounds(values, weights, **look)[-1]
    lower = running_lower_bounds(values, weights, **look)[-1]
    assert lower < true < upper < 0.2
    assert running_lower_bounds(values, **look)[-1] > true, "without weights it would be wrong"


@pytest.mark.parametrize("size", [4095, 4096, 4097])
def test_the_parts_in_which_it_is_computed_do_not_show(size: int) -> None:
    values = drawn(np.random.default_rng(3), size, worse=0.05, better=0.05)
    whole = running_upper_bounds(values, confidence=0.95, **STEPS)
    assert (np.diff(whole) <= 0).all()
    short = running_upper_bounds(values[:300], confidence=0.95, **STEPS)
    assert np.array_equal(whole[:300], short)
