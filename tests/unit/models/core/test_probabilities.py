"""Softmax, sigmoid and pooling keep their promises at the ends of the number line."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from streamlabel.models.core.probabilities import (
    pool_windows,
    probabilities,
    sigmoid,
    softmax,
    softmax_of_one,
)


def floats(values: Sequence[float] | Sequence[Sequence[float]]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


logits = arrays(
    np.float32, (3, 4), elements=st.floats(-3.0000000054977558e38, 3.0000000054977558e38, width=32)
)


@given(logits)
def test_softmax_rows_are_distributions_whatever_the_logits(values: NDArray[np.float32]) -> None:
    result = softmax(values)
    assert result.dtype == np.float64
    assert np.isfinite(result).all()
    assert result.sum(axis=-1) == pytest.approx(np.ones(3), abs=1e-12)


@given(logits)
def test_sigmoid_is_in_its_range_whatever_the_logits(values: NDArray[np.float32]) -> None:
    result = sigmoid(values)
    assert ((result >= 0) & (result <= 1)).all()
    assert result + sigmoid(-values) == pytest.approx(np.ones_like(result), abs=1e-12)


@given(logits)
def test_the_largest_logit_has_the_largest_probability(values: NDArray[np.float32]) -> None:
    for row, scored in zip(values, softmax(values), strict=True):
        assert scored[row.argmax()] == scored.max()


@given(logits)
def test_the_softmax_of_one_text_is_that_of_its_row(values: NDArray[np.float32]) -> None:
    for row, scored in zip(values, softmax(values), strict=True):
        assert softmax_of_one(row.tolist()) == pytest.approx(scored.tolist(), rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("scores", [[-1000.0, 2.0], [2.0, 1000.0], [-1e308, 0.0]])
def test_the_softmax_of_one_text_does_not_overflow(scores: list[float]) -> None:
    assert softmax_of_one(scores) == (0.0, 1.0)


def test_known_values() -> None:
    assert softmax(floats([[0, math.log(3)]]))[0] == pytest.approx([0.25, 0.75], abs=1e-7)
    assert sigmoid(floats([0, math.log(3)])) == pytest.approx([0.5, 0.75], abs=1e-7)
    assert softmax(floats([[-1000, 2]]))[0] == pytest.approx([0, 1])
    assert softmax(floats([[7, 7, 7, 7]]))[0] == pytest.approx([0.25] * 4)


def test_nan_stays_nan() -> None:
    assert np.isnan(softmax(floats([[np.nan, 1]]))).all()
    assert np.isnan(sigmoid(floats([np.nan]))).all()


def test_the_problem_type_chooses_the_function() -> None:
    values = floats([[1, 2]])
    assert (probabilities(values, "single_label") == softmax(values)).all()
    assert (probabilities(values, "multi_label") == sigmoid(values)).all()


def test_windows_are_pooled_per_label() -> None:
    windows = floats([[1, 5], [3, 1]])
    assert pool_windows(windows, "mean").tolist() == [2, 3]
    assert pool_windows(windows, "max").tolist() == [3, 5]
