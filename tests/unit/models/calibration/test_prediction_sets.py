"""The reviewer's list holds the truth as often as promised, and is never empty."""

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlabel.models.calibration.prediction_sets import fit_limits, prediction_set
from streamlabel.models.calibration.risk_control import control_risk
from streamlabel.models.calibration.thresholds import Choices
from streamlabel.models.core.probabilities import probabilities

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


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


def test_a_rare_label_shares_the_limit_of_rare_labels_and_not_that_of_all() -> None:
    rng = np.random.default_rng(0)
    # label 0 is easy and frequent; 1 and 2 are rare and usually given little probability
    truth = rng.choice(3, size=4000, p=[0.98, 0.01, 0.01])
    easy = rng.uniform(0.9, 1.0, size=4000)
    hard = rng.uniform(0.0, 0.5, size=4000)
    own = np.where(truth == 0, easy, hard)
    scores = np.repeat(((1 - own) / 2)[:, None], 3, axis=1)
    scores[np.arange(4000), truth] = own
    limits = fit_limits(scores, truth, miss_rate=0.1)
    assert limits[1] == limits[2] > 0.9
    assert limits[0] < 0.2
    assert fit_limits(scores[:, :2], np.minimum(truth, 1), miss_rate=0.1)[1] > 0.9


def _texts(rng: np.random.Generator, items: int, shape: str) -> tuple[Choices, Floats, Integers]:
    """Texts of a simulated model: what it chose, its probabilities (N, K), the truth."""
    labels, spread, too_sure = {
        "two labels": (2, 3.0, 1.0),
        "three labels": (3, 3.0, 1.0),
        "too sure": (3, 2.5, 1.8),
        "unsure": (4, 1.5, 1.0),
        "rare label": (3, 3.0, 1.0),
    }[shape]
    logits = rng.normal(size=(items, labels)) * spread
    if shape == "rare label":
        logits[:, 0] -= 4.0
    cumulative = probabilities(logits, "single_label").cumsum(axis=1)
    truth = (rng.random((items, 1)) > cumulative).sum(axis=1).clip(max=labels - 1)
    shown = probabilities(logits * too_sure, "single_label")
    chosen = shown.argmax(axis=1)
    names = tuple(f"label {n}" for n in range(labels))
    open_ = np.ones(items, dtype=bool)
    return Choices(chosen, shown.max(axis=1), chosen != truth, open_, names), shown, truth


SHAPES = ("two labels", "three labels", "too sure", "unsure", "rare label")


@pytest.mark.parametrize("shape", SHAPES)
def test_item_2_the_list_holds_the_truth_as_often_as_stated_where_it_is_shown(shape: str) -> None:
    found: list[float] = []
    of_all: list[float] = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        (known, shown, truth), (new, new_shown, new_truth) = (
            _texts(rng, 1500, shape) for _ in range(2)
        )
        thresholds = control_risk(known, target=0.05).thresholds
        reviewed, new_reviewed = ~known.accepted(thresholds), ~new.accepted(thresholds)
        for rows, coverage in ((reviewed, found), (np.ones(1500, dtype=bool), of_all)):
            limits = fit_limits(shown[rows], truth[rows], miss_rate=0.05)
            listed = 1 - new_shown <= np.array(limits)
            hits = listed[np.arange(1500), new_truth][new_reviewed]
            coverage.append(hits.mean())
    assert np.mean(found) >= 0.95 - 0.01
    if shape != "unsure":  # where nearly everything is reviewed there is no difference
        assert np.mean(of_all) < np.mean(found)


def test_too_few_examples_leave_no_label_out() -> None:
    scores = np.tile([0.9, 0.1], (10, 1))
    assert fit_limits(scores, np.zeros(10, dtype=np.int64), miss_rate=0.05) == (1.0, 1.0)
    assert prediction_set((0.9, 0.1), (1.0, 1.0)) == (0, 1)


def test_a_list_has_at_least_the_most_probable_label() -> None:
    assert prediction_set((0.3, 0.4, 0.3), (0.1, 0.1, 0.1)) == (1,)
