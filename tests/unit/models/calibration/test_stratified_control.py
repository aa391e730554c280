"""Tests of thresholds on audited and reviewed records together: exact, and sharper."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from streamlabel.models.calibration.risk_control import control_risk
from streamlabel.models.calibration.stratified_control import (
    Seen,
    Strata,
    control_strata,
    is_proven,
)
from streamlabel.models.calibration.thresholds import NEVER, Choices, Group

TARGET = 0.05


def test_a_test_passes_wrongly_in_at_most_its_level() -> None:
    """Both rates and the share of each kind are drawn; the rate of all is exactly the target."""
    rng = np.random.default_rng(0)
    ratio, level, trials = 0.02, 0.05, 2000
    for part, reviewed_rate in ((0.5, 0.01), (0.9, 0.2), (0.7, 0.05), (0.99, 0.6)):
        rate = (TARGET - (1 - part) * reviewed_rate) / part
        odds = part * ratio / (part * ratio + 1 - part)  # of an audited one among those seen
        passed = 0
        for _ in range(trials):
            rare = int(rng.binomial(4000, odds))
            common = 4000 - rare
            seen = Seen(
                rare, int(rng.binomial(rare, rate)), common, rng.binomial(common, reviewed_rate)
            )
            passed += is_proven(seen, ratio=ratio, target=TARGET, level=level)
        assert passed <= binom.ppf(0.99, trials, level)


@given(
    st.integers(1, 800), st.integers(0, 40), st.integers(0, 4000), st.integers(0, 400),
    st.sampled_from([0.01, 0.02, 0.2, 1.0]),
)  # fmt: skip
def test_more_errors_or_a_smaller_level_never_help(
    rare: int, rare_wrong: int, common: int, common_wrong: int, ratio: float
) -> None:
    seen = Seen(rare, min(rare, rare_wrong), common, min(common, common_wrong))
    yes = is_proven(seen, ratio=ratio, target=TARGET, level=0.01)
    looser = is_proven(seen, ratio=ratio, target=TARGET, level=0.05)
    assert looser or not yes
    if seen.rare_wrong < rare:
        worse = Seen(rare, seen.rare_wrong + 1, common, seen.common_wrong)
        assert yes or not is_proven(worse, ratio=ratio, target=TARGET, level=0.01)


def test_without_audited_records_nothing_is_proven() -> None:
    assert not is_proven(Seen(0, 0, 5000, 0), ratio=0.02, target=TARGET, level=0.05)


def drawn(
    rng: np.random.Generator, *, items: int, share: float, threshold: float, edge: bool = False
) -> tuple[Choices, Strata, NDArray[np.bool_]]:
    """Return verdicts about a stream: below the threshold all are reviewed, above it a share."""
    confidence = 1 - 0.5 * rng.beta(0.6, 3.0, items)
    risk = np.full(items, TARGET * 1.001) if edge else np.minimum(0.9, 1.4 * (1 - confidence))
    accepted = confidence >= threshold
    seen = ~accepted | (rng.random(items) < share)
    confidence, risk, accepted = confidence[seen], risk[seen], accepted[seen]
    choices = Choices(
        label=np.zeros(len(risk), dtype=np.int64),
        confidence=confidence,
        is_wrong=rng.random(len(risk)) < risk,
        is_open=np.ones(len(risk), dtype=bool),
        names=("a",),
    )
    return choices, Strata(accepted, share), accepted


def reached(groups: tuple[Group, ...], choices: Choices, strata: Strata) -> float:
    [group] = groups
    weights = strata.weights
    return float(weights[choices.confidence >= group.threshold].sum() / weights.sum())


def test_at_the_target_everywhere_thresholds_pass_in_at_most_one_in_twenty() -> None:
    rng = np.random.default_rng(1)
    passed, trials = 0, 200
    for _ in range(trials):
        choices, strata, accepted = drawn(rng, items=8000, share=0.1, threshold=0.95, edge=True)
        [group] = control_strata(choices, strata, target=TARGET, confidence=0.95, in_force=accepted)
        passed += group.threshold != NEVER
    assert passed <= binom.ppf(0.99, trials, 0.05)


def test_all_verdicts_accept_more_than_a_sample_of_equal_probability() -> None:
    """A calibration from few labels was much too strict; what is in force stays at least."""
    gains = []
    for seed in range(20):
        choices, strata, accepted = drawn(
            np.random.default_rng(seed), items=30_000, share=0.02, threshold=0.99
        )
        kept = strata.is_rare | (np.random.default_rng(seed).random(len(accepted)) < strata.ratio)
        sample = Choices(
            choices.label[kept],
            choices.confidence[kept],
            choices.is_wrong[kept],
            choices.is_open[kept],
            choices.names,
        )
        least = float(strata.weights[accepted].sum() / strata.weights.sum())
        thinned = control_risk(sample, target=TARGET).groups
        ours = control_strata(choices, strata, target=TARGET, confidence=0.95, in_force=accepted)
        gains.append(
            max(least, reached(ours, choices, strata))
            - max(least, reached(thinned, choices, strata))
        )
    assert np.mean(gains) > 0.02


def test_the_bound_of_a_group_is_below_the_target_and_stricter_ones_are_proven() -> None:
    choices, strata, accepted = drawn(
        np.random.default_rng(3), items=30_000, share=0.05, threshold=0.97
    )
    [group] = control_strata(choices, strata, target=TARGET, confidence=0.95, in_force=accepted)
    assert 0 < group.errors / group.accepted < 1
    assert group.bound <= TARGET
    assert all(limit > group.threshold for limit in group.stricter)


def test_too_few_records_prove_nothing() -> None:
    choices, strata, accepted = drawn(
        np.random.default_rng(4), items=400, share=0.05, threshold=0.97
    )
    [group] = control_strata(choices, strata, target=0.001, confidence=0.95, in_force=accepted)
    assert group.threshold == NEVER
