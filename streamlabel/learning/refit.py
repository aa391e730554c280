"""A new calibration from verdicts: a weighted fit, and thresholds with exact tests. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from streamlabel.errors import ConfigError
from streamlabel.learning.reviewed import Reviewed
from streamlabel.models.calibration.calibration import Calibration
from streamlabel.models.calibration.calibration_fit import (
    Method,
    calibrated,
    fit_weighted,
    negative_log_likelihood,
)
from streamlabel.models.calibration.stratified_control import Strata
from streamlabel.models.calibration.thresholds import Choices
from streamlabel.models.calibration.weights import inverse_weights, thinned
from streamlabel.models.core.labels import LabelSet

__all__ = ["LEAST_EFFECTIVE", "Refit", "choices_from", "refit", "sample_of", "strata_of"]

Floats = NDArray[np.float64]

# Fewer labels of equal weight determine a fit worse than the calibration in force.
LEAST_EFFECTIVE = 200
# Ends of the slices of time that judge a fit, as parts of the verdicts: each slice judges the fit
# to all verdicts before it. One slice alone has so few audits, with large weights, that its error
# hid improvements that were there: simulated, 38 % of good fits were dropped, and 5 % with four.
_SLICES = (0.3, 0.475, 0.65, 0.825, 1.0)
# With fewer labels of a class (effective) its bias is noise.
_LEAST_PER_CLASS = 50


@dataclass(frozen=True, slots=True)
class Refit:
    """The result of a fit.

    Attributes:
        calibration: new, or the one in force if no fit is better.
        method: of the new fit; None: the one in force stays.
        before: weighted loss of the later verdicts with the calibration in force.
        after: the same with fits on the verdicts before them.
        effective: labels of equal weight that the verdicts amount to.
        clipped: number of verdicts whose weight was cut.
        notes: sentences about what was tried.
    """

    calibration: Calibration
    method: Method | None
    before: float
    after: float
    effective: float
    clipped: int
    notes: tuple[str, ...]


def refit(data: Reviewed, now: Calibration, *, max_weight: float) -> Refit:
    """Return the fit that describes later verdicts best, or the calibration in force.

    A more complex one is taken only if it lowers the loss of later verdicts by more than one
    standard error. Each of four slices of time is judged with a fit to the verdicts before it.

    Each verdict has the inverse of its probability of review as its weight: reviewed records are
    the uncertain ones, and a fit without weights would describe those, not the traffic.

    Args:
        data: decided reviews, in order of time.
        now: the calibration in force.
        max_weight: largest weight of a verdict.

    Raises:
        ConfigError: there are too few verdicts.
    """
    weights = inverse_weights(data.probability, most=max_weight)
    if weights.effective < LEAST_EFFECTIVE:
        raise ConfigError(
            f"{len(data):,} verdicts amount to {weights.effective:,.0f} labels of equal weight, and"
            f" a fit takes {LEAST_EFFECTIVE}: raise routing.audit_share, so that accepted records"
            " are reviewed more often, or wait for more verdicts"
        )
    slices = _slices(len(data))
    later = np.s_[slices[0].start :]
    judged = weights.values[later]
    best_losses = _losses(now, data, later)
    chosen: Method | None = None
    before = float(np.average(best_losses, weights=judged))
    notes: list[str] = []
    is_multi = now.problem_type == "multi_label"
    for method in _methods(data, is_multi, weights.values[: slices[0].start], notes):
        losses = np.concatenate([_losses_after(method, data, weights.values, s) for s in slices])
        gain, error = _mean(best_losses - losses, judged)
        loss = float(np.average(losses, weights=judged))
        notes.append(f"{method}: {loss:.4f} on later verdicts; in force: {before:.4f}")
        if gain > error:
            best_losses, chosen = losses, method
    loss = float(np.average(best_losses, weights=judged))
    calibration = now
    if chosen is not None:
        calibration = fit_weighted(chosen, data.log_scores, data.truth, weights.values)
    return Refit(
        calibration, chosen, before, loss, weights.effective, weights.clipped, tuple(notes)
    )


def _slices(verdicts: int) -> list[slice]:
    """Return the slices of time that judge fits to what is before them."""
    ends = [round(part * verdicts) for part in _SLICES]
    return [np.s_[begin:end] for begin, end in pairwise(ends)]


def _losses_after(method: Method, data: Reviewed, weights: Floats, part: slice) -> Floats:
    """Return the losses of a slice with a fit to the verdicts before it."""
    earlier = np.s_[: part.start]
    made = fit_weighted(method, data.log_scores[earlier], data.truth[earlier], weights[earlier])
    return _losses(made, data, part)


def _methods(data: Reviewed, is_multi: bool, weights: Floats, notes: list[str]) -> list[Method]:
    if is_multi:
        return ["platt"]
    least = min(
        _effective(weights[data.truth[: len(weights), label]])
        for label in range(data.truth.shape[1])
    )
    if least >= _LEAST_PER_CLASS:
        return ["temperature", "temperature and bias"]
    notes.append(f"no bias per class: one has {least:.0f} labels, {_LEAST_PER_CLASS} are needed")
    return ["temperature"]


def _effective(weights: Floats) -> float:
    return float(weights.sum()) ** 2 / float((weights**2).sum()) if len(weights) else 0.0


def _losses(now: Calibration, data: Reviewed, part: slice) -> Floats:
    shown = calibrated(now, data.log_scores[part])
    return negative_log_likelihood(shown, data.truth[part], now.problem_type)


def _mean(values: Floats, weights: Floats) -> tuple[float, float]:
    """Return a weighted mean and its standard error."""
    mean = float(np.average(values, weights=weights))
    return mean, float(np.sqrt(((weights * (values - mean)) ** 2).sum()) / weights.sum())


def sample_of(
    data: Reviewed,
    calibration: Calibration,
    labels: LabelSet,
    *,
    everything_reviewed: bool = False,
) -> Choices:
    """Return a random sample of the traffic for exact tests: every record had the same probability.

    Args:
        data: decided reviews.
        calibration: for the confidences of the sample.
        labels: of the model.
        everything_reviewed: the thresholds in force accept nothing, so that no record could have
            been audited, and those in review are the traffic.

    Raises:
        ConfigError: no accepted record was audited, so that nothing is known about those.
    """
    if not data.is_audit.any() and not everything_reviewed:
        raise ConfigError(
            "no verdict is about an audited record: verdicts about records in review alone say"
            " nothing about accepted ones, so no threshold can be proven; set routing.audit_share"
        )
    kept = thinned(data.ids, data.probability)
    return choices_from(
        calibrated(calibration, data.log_scores[kept]),
        data.truth[kept],
        data.is_open[kept],
        labels.names,
        is_multi=labels.problem_type == "multi_label",
    )


def strata_of(
    data: Reviewed, calibration: Calibration, labels: LabelSet
) -> tuple[Choices, Strata, NDArray[np.int64]]:
    """Return all records that exact tests of two strata may use: audited ones, and those in review.

    Within each, all had the same probability: records of which more were seen, because a share was
    changed for a while, are thinned out at random.

    Args:
        data: decided reviews; some are audits.
        calibration: for the confidences.
        labels: of the model.

    Returns:
        What the model chose for the records, how they came to review, and their rows in ``data``.
    """
    kept = np.zeros(len(data), dtype=bool)
    least = []
    for part in (data.is_audit, ~data.is_audit):
        rows = np.flatnonzero(part)
        kept[rows] = thinned([data.ids[row] for row in rows], data.probability[rows])
        least.append(float(data.probability[rows].min()) if len(rows) else 1.0)
    rows = np.flatnonzero(kept)
    choices = choices_from(
        calibrated(calibration, data.log_scores[rows]),
        data.truth[rows],
        data.is_open[rows],
        labels.names,
        is_multi=labels.problem_type == "multi_label",
    )
    return choices, Strata(data.is_audit[rows], least[0] / least[1]), rows


def choices_from(
    shown: Floats,
    truth: NDArray[np.bool_],
    is_open: NDArray[np.bool_],
    names: Sequence[str],
    *,
    is_multi: bool,
) -> Choices:
    """Return what a model chose, given calibrated probabilities (N, K) and true labels (N, K)."""
    decided = shown >= 0.5
    if not is_multi:
        decided = np.zeros_like(truth)
        decided[np.arange(len(shown)), shown.argmax(axis=1)] = True
    sure = np.maximum(shown, 1 - shown).min(axis=1) if is_multi else shown.max(axis=1)
    return Choices(
        label=np.zeros(len(shown), dtype=np.int64) if is_multi else shown.argmax(axis=1),
        confidence=sure,
        is_wrong=(decided != truth).any(axis=1),
        is_open=is_open,
        names=tuple(names),
        judged_whole=is_multi,
        decided=decided,
        truth=truth,
    )
