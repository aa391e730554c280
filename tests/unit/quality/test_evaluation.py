"""Numbers of an evaluation: right on cases counted by hand, with intervals that hold."""

import numpy as np
import pytest

from streamlabel.models.calibration.calibration_error import calibration_error
from streamlabel.models.core.labels import LabelSet
from streamlabel.quality.evaluation import Scored, evaluate

LABELS = LabelSet(("a", "b"))
TAGS = LabelSet(("x", "y"), "multi_label")


def scored(rows: list[tuple[float, int]]) -> Scored:
    """Return texts given as (probability of b, right label)."""
    b = np.array([p for p, _ in rows])
    truth = np.eye(2, dtype=bool)[[label for _, label in rows]]
    return Scored(LABELS, np.column_stack([1 - b, b]), truth)


def drawn(items: int, seed: int, *, too_sure: float = 1.0) -> Scored:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=items) * 2
    b = 1 / (1 + np.exp(-logits))
    truth = (rng.random(items) < b).astype(int)
    shown = 1 / (1 + np.exp(-logits * too_sure))
    return scored(list(zip(shown.tolist(), truth.tolist(), strict=True)))


def test_counts_of_a_small_case_are_those_of_a_person() -> None:
    found = evaluate(scored([(0.9, 1), (0.8, 1), (0.7, 0), (0.4, 0), (0.1, 1)]))
    assert found.items == 5
    assert found.accuracy.value == pytest.approx(0.6)
    assert found.confusion == ((1, 1), (1, 2))
    b = found.by_label[1]
    assert (b.name, b.texts, b.chosen) == ("b", 3, 3)
    assert (b.precision.value, b.recall.value) == pytest.approx((2 / 3, 2 / 3))
    assert found.macro_f1.value == pytest.approx((0.5 + 2 / 3) / 2)
    assert found.worst == (4, 2)  # 0.9 for a, which is b; 0.7 for b, which is a
    assert found.log_loss == pytest.approx(-np.log([0.9, 0.8, 0.3, 0.6, 0.1]).mean())
    assert found.brier == pytest.approx(2 * np.mean([0.01, 0.04, 0.49, 0.16, 0.81]))
    # most certain first: right, wrong, right, wrong, right
    assert found.aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2 + 2 / 5) / 5)
    assert found.coverage_at["0.01"] == pytest.approx(0.2)


def test_every_interval_holds_its_number() -> None:
    found = evaluate(drawn(300, 1))
    for label in found.by_label:
        for estimate in (label.precision, label.recall, label.f1, found.accuracy, found.macro_f1):
            assert estimate.low <= estimate.value <= estimate.high


def test_a_label_that_was_never_chosen_has_no_precision_and_a_whole_interval() -> None:
    found = evaluate(scored([(0.1, 0), (0.2, 1), (0.3, 0)]))
    b = found.by_label[1]
    assert (b.precision.value, b.precision.low, b.precision.high) == (0.0, 0.0, 1.0)


def test_several_labels_are_judged_one_by_one_and_together() -> None:
    probabilities = np.array([[0.9, 0.2], [0.6, 0.6], [0.1, 0.4]])
    truth = np.array([[True, False], [True, False], [False, True]])
    found = evaluate(Scored(TAGS, probabilities, truth))
    assert found.accuracy.value == pytest.approx(1 / 3)
    assert found.confusion is None
    assert [label.precision.value for label in found.by_label] == [1.0, 0.0]
    assert found.worst == (1, 2)


def test_labels_are_ranked_as_a_person_would_count() -> None:
    probabilities = np.array([[0.9, 0.2], [0.6, 0.6], [0.7, 0.4]])
    truth = np.array([[True, False], [True, False], [False, False]])
    x, y = evaluate(Scored(TAGS, probabilities, truth)).by_label
    assert x.average_precision == pytest.approx((1 + 2 / 3) / 2)  # found first and third
    assert x.auroc == pytest.approx(1 / 2)  # one of the two is above the text without the label
    assert (y.average_precision, y.auroc) == (None, None)  # no text has it
    every = evaluate(Scored(TAGS, probabilities, np.ones((3, 2), dtype=bool))).by_label[0]
    assert (every.average_precision, every.auroc) == (1.0, None)


def calibration(items: int, seed: int, *, too_sure: float = 1.0) -> tuple[float, float, float]:
    s = drawn(items, seed, too_sure=too_sure)
    found = calibration_error(s.confidence, s.is_right, seed=seed)
    return found.value, found.by_chance, found.excess


def test_a_calibrated_model_has_the_error_that_chance_gives() -> None:
    excess = [calibration(400, seed)[2] for seed in range(60)]
    assert abs(np.mean(excess)) < 0.005
    assert calibration(400, 0)[1] > 0.02  # which is far from nothing


def test_a_model_that_is_too_sure_is_far_above_chance() -> None:
    value, by_chance, excess = calibration(1000, 0, too_sure=3.0)
    assert excess > 0.05
    assert value == pytest.approx(by_chance + excess)


def test_bins_hold_equal_numbers_and_few_texts_make_one_bin() -> None:
    s = drawn(310, 0)
    bins = calibration_error(s.confidence, s.is_right).bins
    assert len(bins) == 15
    assert {b.items for b in bins} <= {20, 21}
    assert [b.confidence for b in bins] == sorted(b.confidence for b in bins)
    few = np.array([0.9, 0.8])
    assert len(calibration_error(few, np.array([True, False])).bins) == 1
