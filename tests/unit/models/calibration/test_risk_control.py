"""Promises hold on data whose truth is known, and too few labels promise nothing."""

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlabel.models.calibration.binomial_bounds import (
    labels_needed,
    lower_bound,
    upper_bound,
    wilson_interval,
)
from streamlabel.models.calibration.risk_control import control_risk
from streamlabel.models.calibration.thresholds import NEVER, Choices, allow, weigh_costs

NAMES = ("hate", "offensive", "neither")


def choices(confidence: list[float], wrong: list[int], label: int = 0) -> Choices:
    items = len(confidence)
    is_wrong = np.zeros(items, dtype=bool)
    is_wrong[wrong] = True
    return Choices(
        np.full(items, label), np.array(confidence), is_wrong, np.ones(items, dtype=bool), NAMES
    )


def drawn(
    items: int, seed: int, *, error_rate: float | None = None
) -> tuple[Choices, NDArray[np.float64]]:
    """Return choices and the true error probability of each."""
    rng = np.random.default_rng(seed)
    label = rng.choice(3, size=items, p=[0.08, 0.75, 0.17])
    confidence = 1 - 0.6 * rng.beta(0.5, np.array([3.0, 12.0, 6.0])[label])
    # too sure of itself: wrong 2.5 times as often as it says
    truth = np.minimum(0.9, (1 - confidence) * 2.5)
    if error_rate is not None:
        truth = np.full(items, error_rate)
    is_wrong = rng.random(items) < truth
    return Choices(label, confidence, is_wrong, np.ones(items, dtype=bool), NAMES), truth


@pytest.mark.parametrize(
    ("target", "errors", "labels"),
    [(0.01, 0, 299), (0.01, 1, 473), (0.02, 3, 386), (0.05, 0, 59), (0.05, 10, 336)],
)
def test_the_labels_that_a_promise_takes_are_those_of_the_exact_bound(
    target: float, errors: int, labels: int
) -> None:
    assert labels_needed(target, confidence=0.95, errors=errors) == labels
    assert upper_bound(errors, labels, confidence=0.95) <= target
    assert upper_bound(errors, labels - 1, confidence=0.95) > target


def test_bounds_without_evidence_say_nothing() -> None:
    assert upper_bound(0, 0, confidence=0.95) == 1.0
    assert lower_bound(0, 10, confidence=0.95) == 0.0
    assert wilson_interval(0, 0) == (0.0, 1.0)
    low, high = wilson_interval(9, 10)
    assert 0.59 < low < 0.6
    assert 0.98 < high < 1.0


def test_299_texts_without_an_error_prove_one_percent_and_298_do_not() -> None:
    kept = control_risk(choices([0.9] * 299, []), target=0.01)
    assert kept.accepted == 299
    assert kept.thresholds == (0.9, 0.9, 0.9)
    assert str(kept) == "review 0.0 % of traffic; accepted error <= 1.0 % (95 %), 299 labels"
    lost = control_risk(choices([0.9] * 298, []), target=0.01)
    assert not lost.is_kept
    assert lost.thresholds == (NEVER,) * 3


@pytest.mark.parametrize("error_rate", [None, 0.0205])
def test_a_promise_is_broken_no_more_often_than_it_says(error_rate: float | None) -> None:
    broken = 0
    population, truth = drawn(50_000, 0, error_rate=error_rate)
    for seed in range(1, 1001):
        sample, _ = drawn(900, seed, error_rate=error_rate)
        kept = control_risk(sample, target=0.02)
        accepted = population.accepted(kept.thresholds)
        broken += bool(accepted.any() and truth[accepted].mean() > 0.02)
    # 1000 trials at 5 %: 63 or more happen in 4 % of the runs of a procedure that just keeps it
    assert broken <= 62


def test_labels_with_texts_enough_get_a_threshold_of_their_own_and_the_rest_is_pooled() -> None:
    sample, _ = drawn(20_000, 7)
    kept = control_risk(sample, target=0.05)
    assert [group.labels for group in kept.groups] == [("offensive",), ("neither",), ("hate",)]
    assert len(set(kept.thresholds)) == 3
    sample, _ = drawn(3_500, 7)
    kept = control_risk(sample, target=0.05)
    assert [group.labels for group in kept.groups] == [("offensive",), ("hate", "neither")]
    assert kept.thresholds[0] == kept.thresholds[2]
    assert kept.bound == 0.05
    assert all(group.bound <= 0.05 for group in kept.groups)


def test_texts_that_go_to_review_anyway_count_as_review_and_not_as_evidence() -> None:
    sample = choices([0.9] * 400, list(range(300, 400)))
    closed = Choices(
        sample.label, sample.confidence, sample.is_wrong, np.arange(400) < 300, sample.names
    )
    kept = control_risk(closed, target=0.01)
    assert kept.accepted == 300
    assert kept.review_share == pytest.approx(0.25)


def test_costs_become_thresholds_where_a_look_pays() -> None:
    costs = {"hate": 10.0, "offensive": 2.0, "neither": 0.5}
    found = weigh_costs(choices([0.85] * 100, [3]), review=1.0, errors=costs)
    assert found.thresholds == pytest.approx((0.9, 0.5, 1e-6))
    assert found.accepted == 0
    assert found.bound == 1.0


def test_a_budget_is_used_up_and_never_passed() -> None:
    confidence = [i / 100 for i in range(1, 101)]
    found = allow(choices(confidence, [0, 1]), max_review=0.1)
    assert found.review_share == pytest.approx(0.1)
    assert found.errors == 0
    assert 0.03 < found.bound < 0.04
    tied = allow(choices([0.5] * 30 + [0.9] * 70, []), max_review=0.1)
    assert tied.review_share <= 0.1


def test_item_7_a_budget_and_costs_never_claim_in_the_words_of_a_target_error() -> None:
    sample, _ = drawn(2000, 3)
    promised = str(control_risk(sample, target=0.05))
    assert "accepted error <= 5.0 % (95 %)" in promised
    costs = dict.fromkeys(NAMES, 10.0)
    for found in (allow(sample, max_review=0.2), weigh_costs(sample, review=1.0, errors=costs)):
        said = str(found)
        assert "measured" in said
        assert "not guaranteed" in said
        assert "accepted error" not in said
        assert "<=" not in said


def test_a_budget_that_other_reasons_already_pass_is_refused() -> None:
    sample = choices([0.9] * 10, [])
    closed = Choices(
        sample.label, sample.confidence, sample.is_wrong, np.arange(10) < 5, sample.names
    )
    with pytest.raises(ValueError, match=r"50\.0%"):
        allow(closed, max_review=0.1)


def test_stricter_thresholds_are_tests_that_passed_and_each_accepts_a_good_part_less() -> None:
    data, _ = drawn(4000, seed=3)
    promise = control_risk(data, target=0.05)
    steps = [group for group in promise.groups if group.stricter]
    assert steps
    for group in steps:
        mine = np.isin(data.label, [NAMES.index(name) for name in group.labels])
        before = group.accepted
        for threshold in group.stricter:
            taken = mine & (data.confidence >= threshold)
            assert threshold > group.threshold
            assert taken.sum() <= 0.8 * before
            assert (
                upper_bound(int((taken & data.is_wrong).sum()), int(taken.sum()), confidence=0.95)
                <= 0.05 + 1e-9
            )
            before = int(taken.sum())
