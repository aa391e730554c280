"""Whether calibration and target errors hold: on simulated data with known truth, and on splits."""

from dataclasses import dataclass

import numpy as np

from benchmarks.quality_models import Answered
from streamlabel.models.calibration.binomial_bounds import lower_bound
from streamlabel.models.calibration.calibration import Calibration
from streamlabel.models.calibration.calibration_error import calibration_error
from streamlabel.models.calibration.calibration_fit import (
    calibrated,
    fit_calibration,
    negative_log_likelihood,
)
from streamlabel.models.calibration.risk_control import control_risk
from streamlabel.models.calibration.thresholds import Choices

__all__ = ["Halves", "Kept", "held_out_calibration", "simulated", "splits"]

_NAMES = ("a", "b", "c")


@dataclass(frozen=True, slots=True)
class Halves:
    """Calibration fitted on one half of dev and measured on the other, then swapped.

    Attributes:
        excess: calibration error above chance, mean of both directions.
        raw_excess: the same without calibration.
        log_loss: mean, calibrated.
        raw_log_loss: mean, as the model gives it.
    """

    excess: float
    raw_excess: float
    log_loss: float
    raw_log_loss: float


@dataclass(frozen=True, slots=True)
class Kept:
    """Results of risk control over many trials.

    Attributes:
        broken: fraction of trials in which the target error was exceeded.
        empty: fraction of trials in which no threshold met the target.
        coverage: mean fraction of accepted texts.
    """

    broken: float
    empty: float
    coverage: float


def held_out_calibration(answered: Answered, *, halvings: int) -> list[Halves]:
    """Return the effect of calibration on held-out data, for this many random halvings."""
    found = []
    plain = Calibration("single_label")
    for seed in range(halvings):
        order = np.random.default_rng(seed).permutation(len(answered.truth))
        half = len(order) // 2
        rows = []
        for fit, held in ((order[:half], order[half:]), (order[half:], order[:half])):
            scores, truth = answered.log_scores, answered.truth
            fitted = fit_calibration(scores[fit], truth[fit], "single_label").calibration
            rows.append([_measured(c, scores[held], truth[held]) for c in (fitted, plain)])
        (excess, loss), (raw_excess, raw_loss) = np.mean(rows, axis=0)
        found.append(Halves(excess, raw_excess, loss, raw_loss))
    return found


def _measured(
    calibration: Calibration, scores: np.ndarray, truth: np.ndarray
) -> tuple[float, float]:
    shown = calibrated(calibration, scores)
    right = truth[np.arange(len(truth)), shown.argmax(axis=1)]
    losses = negative_log_likelihood(shown, truth, "single_label")
    return calibration_error(shown.max(axis=1), right).excess, float(losses.mean())


def simulated(kind: str, *, target: float, items: int, trials: int) -> Kept:
    """Return the results of risk control on simulated data with known truth.

    Args:
        kind: ``calibrated``; ``too sure``: wrong 2.5 times as often as its confidence implies;
            ``edge``: error rate just above the target at every confidence, so nothing may be
            accepted.
        target: the target error.
        items: labelled texts in each trial.
        trials: how many.
    """
    population, truth = _drawn(np.random.default_rng(10_000), 200_000, kind, target)
    rng = np.random.default_rng(1)
    broken = empty = 0
    coverage = 0.0
    for _ in range(trials):
        sample, _ = _drawn(rng, items, kind, target)
        accepted = population.accepted(control_risk(sample, target=target).thresholds)
        coverage += accepted.mean() / trials
        empty += not accepted.any()
        broken += bool(accepted.any() and truth[accepted].mean() > target)
    return Kept(broken / trials, empty / trials, coverage)


def _drawn(
    rng: np.random.Generator, items: int, kind: str, target: float
) -> tuple[Choices, np.ndarray]:
    label = rng.choice(3, size=items, p=[0.75, 0.17, 0.08])
    confidence = 1 - 0.6 * rng.beta(0.5, np.array([12.0, 6.0, 3.0])[label])
    truth = 1 - confidence
    if kind == "too sure":
        truth = np.minimum(0.9, truth * 2.5)
    elif kind == "edge":
        truth = np.full(items, target * 1.02)
    is_wrong = rng.random(items) < truth
    return Choices(label, confidence, is_wrong, np.ones(items, dtype=bool), _NAMES), truth


def splits(answered: Answered, *, target: float, count: int) -> Kept:
    """Return whether a target error chosen on one half of dev holds on the other, in random splits.

    Broken: the other half's error is significantly above the target (95 % lower bound).
    """
    broken = empty = 0
    coverage = 0.0
    for seed in range(count):
        order = np.random.default_rng(seed).permutation(len(answered.truth))
        here, there = order[: len(order) // 2], order[len(order) // 2 :]
        scores, truth = answered.log_scores, answered.truth
        calibration = fit_calibration(scores[here], truth[here], "single_label").calibration
        made, held = (
            _choices(calibrated(calibration, scores[part]), truth[part], answered.labels.names)
            for part in (here, there)
        )
        accepted = held.accepted(control_risk(made, target=target).thresholds)
        errors, items = int((held.is_wrong & accepted).sum()), int(accepted.sum())
        coverage += accepted.mean() / count
        empty += items == 0
        broken += items > 0 and lower_bound(errors, items, confidence=0.95) > target
    return Kept(broken / count, empty / count, coverage)


def _choices(shown: np.ndarray, truth: np.ndarray, names: tuple[str, ...]) -> Choices:
    label = shown.argmax(axis=1)
    right = truth[np.arange(len(truth)), label]
    return Choices(label, shown.max(axis=1), ~right, np.ones(len(truth), dtype=bool), names)
