"""The reviewer's list holds the truth as often as promised, and is never empty."""

import numpy as np
import pytest

from streamlabel.models.calibration.prediction_sets import fit_limits, prediction_set


def test_the_true_label_is_on_the_list_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    scores = rng.dirichlet([1.0, 0.5, 0.3], size=20_000)
    truth = (rng.random((20_000, 1)) > scores.cumsum(axis=1)).sum(axis=1)
    limits = fit_limits(scores[:2000], truth[:2000], miss_rate=0.1)
    held, held_truth = scores[2000:].tolist(), truth[2000:].tolist()
    listed = [prediction_set(row, limits) for row in held]
    for label in range(3):
        hits = [t in on for t, on in zip(held_truth, listed, strict=True) if t == label]
        assert np.mean(hits) == pytest.approx(0.9, abs=0.03)
    assert np.mean([len(on) for on in listed]) < 3


def test_a_label_with_few_examples_takes_the_limit_of_all() -> None:
    scores = np.tile([0.6, 0.4], (100, 1))
    truth = np.zeros(100, dtype=np.int64)
    truth[:3] = 1
    limits = fit_limits(scores, truth, miss_rate=0.05)
    assert limits == pytest.approx((0.4, 0.4))


def test_too_few_examples_leave_no_label_out() -> None:
    scores = np.tile([0.9, 0.1], (10, 1))
    assert fit_limits(scores, np.zeros(10, dtype=np.int64), miss_rate=0.05) == (1.0, 1.0)
    assert prediction_set((0.9, 0.1), (1.0, 1.0)) == (0, 1)


def test_a_list_has_at_least_the_most_probable_label() -> None:
    assert prediction_set((0.3, 0.4, 0.3), (0.1, 0.1, 0.1)) == (1,)
