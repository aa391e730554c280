"""The simulation of cascades: the guarantee holds, and costs less than testing all pairs."""

import numpy as np

from benchmarks.plans_accuracy import best_threshold, guarantee, measured
from benchmarks.plans_cascades import drawn, proof
from streamlabel.models.calibration.cascade_choices import StageChoices, route
from streamlabel.models.calibration.cascade_control import control_cascade


def test_the_guarantee_is_broken_in_no_more_trials_than_it_says() -> None:
    rng = np.random.default_rng(11)
    broken, trials = 0, 200
    big = drawn(rng, 100_000, "edge")
    for _ in range(trials):
        promise = control_cascade(
            drawn(rng, 1500, "edge"), review_price=1, target=0.05, with_curve=False
        )
        routed = route(big, promise.chosen.thresholds)
        accepted = routed.is_accepted
        broken += bool(promise.is_kept and accepted.any())
    # whatever is accepted breaks it: 5 % and three standard deviations
    assert broken / trials <= 0.05 + 3 * (0.05 * 0.95 / trials) ** 0.5
    assert broken > 0


def test_it_costs_less_than_bonferroni_and_the_rows_are_complete() -> None:
    figures, page, rows = proof(4)
    assert figures["cascade_cost_over_oracle"] < figures["cascade_cost_over_oracle_bonferroni"]
    assert figures["cascade_cost_over_oracle"] >= 1
    assert set(rows["two models"]) == {"streamlabel calibrate", "one path", "Bonferroni"}
    assert page.count("\n| ") == 2 + 5


def answers(rng: np.random.Generator, *, right: float, texts: int = 500) -> StageChoices:
    """A stage that is right about this share of the texts, and knows which ones, roughly."""
    is_wrong = rng.random(texts) >= right
    confidence = np.clip(rng.normal(np.where(is_wrong, 0.6, 0.9), 0.15), 0.34, 1)
    everything = np.ones(texts, dtype=bool)
    return StageChoices(np.zeros(texts, dtype=np.int64), confidence, everything, is_wrong, 1.0)


def test_a_cascade_that_passes_on_all_or_nothing_is_one_of_its_stages() -> None:
    rng = np.random.default_rng(3)
    stages = answers(rng, right=0.8), answers(rng, right=0.9)
    never, always = (measured(*stages, threshold=limit) for limit in (0.0, 1.1))
    assert (never.cascade, never.passed_on) == (never.first, 0)
    assert (always.cascade, always.passed_on) == (always.second, 1)
    assert never.gap == always.second - never.first > 0
    assert always.gap == 0


def test_the_chosen_threshold_passes_on_few_and_is_better_than_either_end() -> None:
    rng = np.random.default_rng(4)
    stages = answers(rng, right=0.8), answers(rng, right=0.9)
    found = measured(*stages, threshold=best_threshold(*stages))
    assert 0 < found.passed_on <= 0.36
    assert found.first < found.cascade


def test_the_guarantee_accepts_what_is_right_often_enough_and_nothing_else() -> None:
    rng = np.random.default_rng(6)
    good = answers(rng, right=0.93, texts=2000), answers(rng, right=0.97, texts=2000)
    accepted, error = guarantee(good, good)
    assert accepted > 0.5
    assert 0 < error <= 0.1
    bad = answers(rng, right=0.4, texts=2000)
    flat = StageChoices(
        bad.answer, np.full(2000, 0.9), bad.is_open, rng.random(2000) < 0.6, bad.price
    )
    assert guarantee((flat, flat), (flat, flat)) == (0.0, 0.0)
