"""Calibration repairs what is off, leaves alone what is not, and is the same for one and many."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamlabel.models.calibration.calibration import Calibration, log_scores_of
from streamlabel.models.calibration.calibration_fit import (
    calibrated,
    fit_calibration,
    negative_log_likelihood,
)
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.core.probabilities import probabilities

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def drawn(items: int, *, seed: int = 0, labels: int = 3) -> tuple[Floats, Bools]:
    """Return logits whose softmax is the truth, and labels drawn from it."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(items, labels)) * 2.0
    cumulative = probabilities(logits, "single_label").cumsum(axis=1)
    chosen = (rng.random((items, 1)) > cumulative).sum(axis=1).clip(max=labels - 1)
    return logits, np.eye(labels, dtype=bool)[chosen]


def test_a_model_that_is_too_sure_is_brought_back_to_what_it_knows() -> None:
    logits, truth = drawn(2000)
    fitted = fit_calibration(logits * 3, truth, "single_label")
    assert fitted.method == "temperature"
    assert fitted.calibration.temperature == pytest.approx(3.0, rel=0.1)
    assert fitted.after < fitted.before


def test_a_bias_towards_a_class_is_found_and_taken_back() -> None:
    logits, truth = drawn(4000)
    fitted = fit_calibration(logits + np.array([1.0, 0.0, 0.0]), truth, "single_label")
    assert fitted.method == "temperature and bias"
    bias = np.array(fitted.calibration.bias)
    assert bias - bias[1] == pytest.approx([-1.0, 0.0, 0.0], abs=0.2)
    assert fitted.calibration.temperature == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_a_calibrated_model_is_left_as_it_is(seed: int) -> None:
    logits, truth = drawn(500, seed=seed)
    fitted = fit_calibration(logits, truth, "single_label")
    assert abs(math.log(fitted.calibration.temperature)) < 0.2
    held, held_truth = drawn(20_000, seed=100 + seed)
    losses = [
        negative_log_likelihood(calibrated(c, held), held_truth, "single_label").mean()
        for c in (Calibration("single_label"), fitted.calibration)
    ]
    assert losses[1] - losses[0] < 0.005


def test_a_class_with_few_examples_gets_no_bias_and_the_notes_say_so() -> None:
    logits, truth = drawn(100)
    fitted = fit_calibration(logits * 3, truth, "single_label")
    assert not fitted.calibration.bias
    assert any("50 are needed" in note for note in fitted.notes)


def test_a_temperature_stays_within_its_limits_whatever_the_labels_say() -> None:
    logits, truth = drawn(300)
    nonsense = fit_calibration(logits * 1000, truth, "single_label").calibration
    assert 0.05 <= nonsense.temperature <= 20
    perfect = np.where(truth, 0.01, 0.0)
    fitted = fit_calibration(perfect, truth, "single_label")
    assert fitted.calibration.temperature == pytest.approx(0.05, rel=0.01)
    assert any("limit" in note for note in fitted.notes)


def test_every_label_of_a_multi_label_task_gets_its_own_line() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(4000, 2)) * 2
    truth = rng.random((4000, 2)) < probabilities(logits, "multi_label")
    fitted = fit_calibration(logits * [2.0, 0.5] + [0.0, 1.0], truth, "multi_label")
    assert fitted.method == "platt"
    assert fitted.calibration.slopes == pytest.approx((0.5, 2.0), rel=0.15)
    assert fitted.calibration.offsets == pytest.approx((0.0, -2.0), abs=0.3)


def test_a_label_that_is_hardly_ever_right_keeps_its_own_probabilities() -> None:
    rng = np.random.default_rng(4)
    logits = np.column_stack([rng.normal(size=1000) * 2, np.full(1000, -3.0)])
    truth = rng.random((1000, 2)) < probabilities(logits, "multi_label") * [1.0, 0.1]
    fitted = fit_calibration(logits * [3.0, 1.0], truth, "multi_label")
    assert fitted.calibration.slopes[1] == 1.0
    assert fitted.calibration.offsets[1] == 0.0


CALIBRATIONS = (
    Calibration("single_label", 2.5),
    Calibration("single_label", 0.3, bias=(0.5, -0.5, 0.1)),
    Calibration("multi_label", slopes=(0.5, 1.0, 2.0), offsets=(0.1, 0.0, -3.0)),
)
ROW = st.lists(
    st.floats(-1000, 1000, allow_nan=False, allow_subnormal=False), min_size=3, max_size=3
)


@pytest.mark.parametrize("calibration", CALIBRATIONS)
@given(row=ROW)
def test_one_record_gets_what_many_would(calibration: Calibration, row: list[float]) -> None:
    raw = probabilities(np.array([row]), calibration.problem_type)[0]
    prediction = Prediction(tuple(raw.tolist()), log_scores=tuple(row))
    one = calibration.probabilities(prediction)
    assert one is not None
    assert all(0.0 <= p <= 1.0 for p in one)
    assert one == pytest.approx(calibrated(calibration, np.array([row]))[0].tolist(), abs=1e-9)


def test_no_calibration_changes_nothing_and_no_answer_stays_none() -> None:
    raw = (0.2, 0.8)
    assert Calibration("single_label").probabilities(Prediction(raw)) is raw
    assert Calibration("single_label", 2.0).probabilities(Prediction(None)) is None


def test_probabilities_without_scores_are_taken_by_their_logarithm() -> None:
    prediction = Prediction((0.9, 0.1, 0.0))
    found = Calibration("single_label", 2.0).probabilities(prediction)
    assert found is not None
    assert found[:2] == pytest.approx((0.75, 0.25), abs=1e-4)
    several = log_scores_of(Prediction((0.9, 1.0)), "multi_label")
    assert several[0] == pytest.approx(math.log(9))
    assert several[1] > 20
