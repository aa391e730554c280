"""Fits a calibration to labelled log scores, and keeps only what helps on held-out data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.calibration.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE, Calibration
from streamlabel.models.core.labels import ProblemType
from streamlabel.models.core.probabilities import probabilities

__all__ = [
    "Fitted",
    "Method",
    "calibrated",
    "fit_calibration",
    "fit_weighted",
    "negative_log_likelihood",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Cross-validation: each row is evaluated with a fit that did not use it.
_FOLDS = 5
# With fewer examples of a class its fitted bias is noise; with fewer positive or negative examples
# of a label no Platt scaling is fitted.
_LEAST_PER_CLASS = 50
_LEAST_PER_SIDE = 20
# Standard deviation of the prior on offsets, in units of logits: shrinks poorly determined offsets
# towards zero.
_PRIOR = 0.5
# Lower limit of a likelihood: one row in which a model is certain and wrong would otherwise have an
# infinite loss and outweigh all others.
_FLOOR = 1e-12

_Fit = Callable[[Floats, Bools, Floats], Calibration]
Method = Literal["temperature", "temperature and bias", "platt"]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A calibration with the evidence for it.

    Attributes:
        method: ``identity``, ``temperature``, ``temperature and bias`` or ``platt``.
        before: mean negative log-likelihood without it.
        after: the same with it, each row evaluated with a fit on the other folds.
        notes: sentences that say what was left out and why.
    """

    calibration: Calibration
    method: str
    before: float
    after: float
    notes: tuple[str, ...] = ()


def fit_calibration(
    log_scores: Floats, truth: Bools, problem_type: ProblemType, *, seed: int = 0
) -> Fitted:
    """Return the calibration with the best held-out loss, fitted to all rows.

    Args:
        log_scores: shape (N, K): logits, or log-probabilities.
        truth: shape (N, K); single_label: one True a row.
        problem_type: of the task.
        seed: of the folds.

    A more complex fit replaces a simpler one only if it lowers the held-out loss by more than one
    standard error, so that it improves new texts and not only these.
    """
    notes: list[str] = []
    candidates: list[tuple[str, _Fit]] = []
    if problem_type == "multi_label":
        candidates.append(("platt", _fit_platt))
    else:
        candidates.append(("temperature", _fit_temperature))
        fewest = int(truth.sum(axis=0).min())
        if fewest >= _LEAST_PER_CLASS:
            candidates.append(("temperature and bias", _fit_bias))
        else:
            notes.append(
                f"no bias per class: a class has {fewest} examples, {_LEAST_PER_CLASS} are needed"
            )
    best = Calibration(problem_type)
    method = "identity"
    best_loss = _losses(best, log_scores, truth)
    before = float(best_loss.mean())
    for name, fit in candidates:
        loss = _held_out(fit, log_scores, truth, seed)
        gain = best_loss - loss
        error = float(gain.std(ddof=1)) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
        if gain.mean() > error:
            every = np.ones(len(truth))
            best, method, best_loss = fit(log_scores, truth, every), name, loss
        else:
            notes.append(f"{name}: does not lower the held-out loss, left out")
    if min(best.temperature, 1 / best.temperature) <= MIN_TEMPERATURE * 1.01:
        notes.append(f"the temperature is at its limit ({best.temperature:g}): check the labels")
    return Fitted(best, method, before, float(best_loss.mean()), tuple(notes))


def fit_weighted(method: Method, log_scores: Floats, truth: Bools, weights: Floats) -> Calibration:
    """Return the fit of one method to rows of unequal weight.

    Args:
        method: for the task: ``platt`` is that of multi_label.
        log_scores: shape (N, K).
        truth: shape (N, K).
        weights: shape (N,), > 0: inverse probabilities of the rows.
    """
    return _METHODS[method](log_scores, truth, weights)


def calibrated(calibration: Calibration, log_scores: Floats) -> Floats:
    """Return the calibrated probabilities (N, K): ``Calibration.probabilities`` for many texts."""
    if calibration.problem_type == "multi_label":
        slopes = np.asarray(calibration.slopes or 1.0)
        offsets = np.asarray(calibration.offsets or 0.0)
        return probabilities(log_scores * slopes + offsets, "multi_label")
    bias = np.asarray(calibration.bias or 0.0)
    return probabilities((log_scores + bias) / calibration.temperature, "single_label")


def negative_log_likelihood(probabilities: Floats, truth: Bools, problem: ProblemType) -> Floats:
    """Return the loss of each row (N,): multi_label: the sum over the labels."""
    right = np.clip(np.where(truth, probabilities, 1 - probabilities), _FLOOR, 1.0)
    if problem == "multi_label":
        return np.asarray(-np.log(right).sum(axis=1))
    return np.asarray(-np.log(np.clip((probabilities * truth).sum(axis=1), _FLOOR, 1.0)))


def _losses(calibration: Calibration, log_scores: Floats, truth: Bools) -> Floats:
    shown = calibrated(calibration, log_scores)
    return negative_log_likelihood(shown, truth, calibration.problem_type)


def _held_out(fit: _Fit, log_scores: Floats, truth: Bools, seed: int) -> Floats:
    fold = np.arange(len(log_scores)) % _FOLDS
    np.random.default_rng(seed).shuffle(fold)
    losses = np.empty(len(log_scores))
    for held in range(_FOLDS):
        out = fold == held
        every = np.ones(int((~out).sum()))
        made = fit(log_scores[~out], truth[~out], every)
        losses[out] = _losses(made, log_scores[out], truth[out])
    return losses


def _fit_temperature(log_scores: Floats, truth: Bools, weights: Floats) -> Calibration:
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        scaled = Calibration("single_label", float(np.exp(log_temperature)))
        return float(np.average(_losses(scaled, log_scores, truth), weights=weights))

    limits = (np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE))
    found = minimize_scalar(loss, bounds=limits, method="bounded")
    return Calibration("single_label", float(np.exp(found.x)))


def _fit_bias(log_scores: Floats, truth: Bools, weights: Floats) -> Calibration:
    """Fit ``softmax(s * a + c)``, convex in (s, c); then T = 1 / s and b = c / s."""
    shares = weights / weights.sum()

    def loss(at: Floats) -> tuple[float, Floats]:
        shown = probabilities(at[0] * log_scores + at[1:], "single_label")
        wrong = (shown - truth) * shares[:, None]  # (N, K): gradient by the scaled scores
        prior = at[1:] / _PRIOR**2 / len(truth)
        value = negative_log_likelihood(shown, truth, "single_label") @ shares
        slope = np.concatenate(([(wrong * log_scores).sum()], wrong.sum(axis=0) + prior))
        return float(value + (at[1:] * prior).sum() / 2), slope

    found = _minimum(loss, labels=log_scores.shape[1])
    bias = found[1:] - found[1:].mean()  # a constant changes no probability
    temperature = 1 / float(found[0])
    return Calibration("single_label", temperature, tuple((bias * temperature).tolist()))


def _fit_platt(log_scores: Floats, truth: Bools, weights: Floats) -> Calibration:
    labels = range(log_scores.shape[1])
    lines = [_platt_line(log_scores[:, k], truth[:, k], weights) for k in labels]
    return Calibration(
        "multi_label", slopes=tuple(s for s, _ in lines), offsets=tuple(o for _, o in lines)
    )


def _platt_line(scores: Floats, truth: Bools, weights: Floats) -> tuple[float, float]:
    shares = weights / weights.sum()
    yes = int(truth.sum())
    if min(yes, len(truth) - yes) < _LEAST_PER_SIDE:
        return 1.0, 0.0

    def loss(at: Floats) -> tuple[float, Floats]:
        line = at[0] * scores + at[1]
        shown = probabilities(line, "multi_label")
        wrong = (shown - truth) * shares
        prior = at[1] / _PRIOR**2 / len(truth)
        value = np.logaddexp(0.0, np.where(truth, -line, line)) @ shares + at[1] * prior / 2
        return float(value), np.array([(wrong * scores).sum(), wrong.sum() + prior])

    slope, offset = _minimum(loss, labels=1)
    return float(slope), float(offset)


def _minimum(loss: Callable[[Floats], tuple[float, Floats]], *, labels: int) -> Floats:
    from scipy.optimize import minimize

    start = np.concatenate(([1.0], np.zeros(labels)))
    scale = (1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE)
    bounds: Sequence[tuple[Any, Any]] = [scale, *[(None, None)] * labels]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(found.x, dtype=np.float64)


_METHODS: Mapping[Method, _Fit] = {
    "temperature": _fit_temperature,
    "temperature and bias": _fit_bias,
    "platt": _fit_platt,
}
