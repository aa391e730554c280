"""From a model's predictions to a calibration file: fit, choose thresholds, keep the evidence."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from streamlabel import __version__
from streamlabel.config.settings import Settings
from streamlabel.consumer.routing.proven_settings import proven_under
from streamlabel.consumer.routing.router import RoutingPolicy, routing_policy
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration import Calibration
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.calibration_fit import Fitted, calibrated, fit_calibration
from streamlabel.models.calibration.calibration_sections import (
    Conformal,
    Evidence,
    FittedOn,
    Mapped,
    PrecisionUsed,
    Reference,
    Thresholds,
)
from streamlabel.models.calibration.prediction_sets import fit_limits
from streamlabel.models.calibration.risk_control import control_risk, what_is_missing
from streamlabel.models.calibration.thresholds import NEVER, Choices, Promise, allow, weigh_costs
from streamlabel.quality.evaluation import Scored
from streamlabel.quality.labelled import LabelledText
from streamlabel.quality.scoring import Answers

__all__ = ["Costs", "Wish", "calibrate", "choices_of", "choose_thresholds"]

# Points of a reference distribution: one per half per cent.
_QUANTILES = 201
# A calibration fitted to fewer texts is worse than none.
_LEAST_TEXTS = 50


@dataclass(frozen=True, slots=True)
class Costs:
    """The costs of a review and of an error, in the same unit."""

    review: float
    errors: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Wish:
    """The criteria for choosing thresholds; without any, none are chosen.

    Attributes:
        target_error: maximum error rate of accepted labels.
        confidence: of the target error and of bounds.
        max_review: maximum fraction of texts for review.
        costs: see ``Costs``.
    """

    target_error: float | None = None
    confidence: float = 0.95
    max_review: float | None = None
    costs: Costs | None = None


def calibrate(answers: Answers, wish: Wish, settings: Settings) -> CalibrationFile:
    """Return the calibration of a model, with thresholds if criteria for them are given.

    Args:
        answers: of the model for labelled texts, sampled from the traffic.
        wish: criteria for the thresholds.
        settings: with which the model answered; other reasons for review count as in the service.

    Raises:
        ConfigError: too few texts for a fit, or for the target error.
    """
    if len(answers.texts) < _LEAST_TEXTS:
        raise ConfigError(
            f"{len(answers.texts)} labelled texts are too few for a calibration: use at least"
            f" {_LEAST_TEXTS}, and some hundreds for a target error"
        )
    problem = answers.labels.problem_type
    scores, truth = answers.log_scores, answers.truth
    fitted = fit_calibration(scores, truth, problem)
    scored = Scored(answers.labels, _probabilities(answers, fitted.calibration), truth)
    file = CalibrationFile(
        schema="streamlabel.calibration/v2",
        model=_fitted_on(answers),
        settings=proven_under(settings, answers.hints),
        precision=_precision(answers),
        mapping=_mapped(answers, fitted),
        conformal=_conformal(answers, scored, miss_rate=round(1 - wish.confidence, 6)),
        reference=_reference(answers, scored),
        evidence=Evidence(
            made_on=datetime.now(UTC).date().isoformat(),
            items=len(answers.texts),
            by_label=_counted(answers.texts),
            log_loss_before=fitted.before,
            log_loss_after=fitted.after,
            versions={"streamlabel": __version__, **answers.identity.versions},
        ),
    )
    # thresholds of the settings act beside those of the file, see routing.threshold
    routing = settings.routing.model_copy(update={"thresholds": {}, "threshold": None})
    policy = routing_policy(answers.labels, routing, calibration=file)
    promise = choose_thresholds(choices_of(answers, scored, policy), wish)
    thresholds = None if promise is None else _thresholds(answers, promise, wish)
    return file.model_copy(update={"thresholds": thresholds}).with_id()


def choose_thresholds(choices: Choices, wish: Wish) -> Promise | None:
    """Return the thresholds that meet the criteria.

    Raises:
        ConfigError: there are too few labels for the target error, or it needs more review than
            allowed.
    """
    confidence = wish.confidence
    if wish.costs is not None:
        return weigh_costs(
            choices, review=wish.costs.review, errors=wish.costs.errors, confidence=confidence
        )
    if wish.target_error is not None:
        promise = control_risk(choices, target=wish.target_error, confidence=confidence)
        if not promise.is_kept:
            raise ConfigError(
                what_is_missing(choices, target=wish.target_error, confidence=confidence)
            )
        if wish.max_review is not None and promise.review_share > wish.max_review:
            raise ConfigError(
                f"{promise}: more review than {wish.max_review:.1%}. With that limit alone:"
                f" {_allowed(choices, wish.max_review, confidence)}"
            )
        return promise
    if wish.max_review is not None:
        return _allowed(choices, wish.max_review, confidence)
    return None


def choices_of(answers: Answers, scored: Scored, policy: RoutingPolicy) -> Choices:
    """Return the data for choosing thresholds: the predictions as routing sees them."""
    # Texts without a prediction are part of the traffic, and always go to review.
    lost = answers.unanswered + len(answers.failed)
    label = np.zeros(len(scored.truth), dtype=np.int64)
    if not scored.is_multi:
        label = scored.probabilities.argmax(axis=1)
    return Choices(
        label=np.append(label, np.zeros(lost, dtype=np.int64)),
        confidence=np.append(scored.confidence, np.zeros(lost)),
        is_wrong=np.append(~scored.is_right, np.ones(lost, dtype=bool)),
        is_open=np.append(answers.is_open(policy), np.zeros(lost, dtype=bool)),
        names=answers.labels.names,
        judged_whole=scored.is_multi,
    )


def _allowed(choices: Choices, max_review: float, confidence: float) -> Promise:
    try:
        return allow(choices, max_review=max_review, confidence=confidence)
    except ValueError as error:
        raise ConfigError(f"--max-review: {error}") from error


def _probabilities(answers: Answers, calibration: Calibration) -> NDArray[np.float64]:
    if calibration.is_identity:  # exactly the values that the service publishes
        return np.array([p.probabilities for p in answers.predictions], dtype=np.float64)
    return calibrated(calibration, answers.log_scores)


def _fitted_on(answers: Answers) -> FittedOn:
    model = answers.identity
    return FittedOn(
        name=model.name,
        backend=model.backend,
        digest=model.digest,
        prompt_version=model.prompt_version,
        device=model.device,
        dtype=model.dtype,
        labels=list(answers.labels.names),
        problem_type=answers.labels.problem_type,
    )


def _precision(answers: Answers) -> PrecisionUsed:
    layers = answers.identity.details.get("exact_layers")
    return PrecisionUsed(exact_layers=None if layers is None else int(layers))


def _mapped(answers: Answers, fitted: Fitted) -> Mapped:
    names, found = answers.labels.names, fitted.calibration
    return Mapped(
        method=fitted.method,
        temperature=found.temperature,
        bias=dict(zip(names, found.bias, strict=True)) if found.bias else {},
        slopes=dict(zip(names, found.slopes, strict=True)) if found.slopes else {},
        offsets=dict(zip(names, found.offsets, strict=True)) if found.offsets else {},
        notes=list(fitted.notes),
    )


def _thresholds(answers: Answers, promise: Promise, wish: Wish) -> Thresholds:
    chosen_by: Literal["promise", "budget", "costs"] = "budget"
    if wish.costs is not None:
        chosen_by = "costs"
    elif wish.target_error is not None:
        chosen_by = "promise"
    named = zip(answers.labels.names, promise.thresholds, strict=True)
    return Thresholds(
        chosen_by=chosen_by,
        by_label={name: None if t == NEVER else t for name, t in named},
        target_error=promise.target,
        bound=promise.bound,
        confidence=promise.confidence,
        summary=str(promise),
        pooled=[list(group.labels) for group in promise.groups if len(group.labels) > 1],
    )


def _conformal(answers: Answers, scored: Scored, *, miss_rate: float) -> Conformal | None:
    if scored.is_multi:
        return None
    limits = fit_limits(scored.probabilities, scored.truth.argmax(axis=1), miss_rate=miss_rate)
    return Conformal(
        miss_rate=miss_rate, limits=dict(zip(answers.labels.names, limits, strict=True))
    )


def _reference(answers: Answers, scored: Scored) -> Reference:
    best = scored.probabilities.argmax(axis=1)
    counts = np.bincount(best, minlength=len(answers.labels)).tolist()
    at = np.linspace(0, 1, _QUANTILES)
    lengths = [len(text.text) for text in answers.texts]
    return Reference(
        items=len(answers.texts),
        labels=dict(zip(answers.labels.names, counts, strict=True)),
        confidence_quantiles=_rounded(np.quantile(scored.confidence, at)),
        length_quantiles=_rounded(np.quantile(lengths, at)),
    )


def _rounded(values: NDArray[np.floating[Any]]) -> list[float]:
    return [round(value, 5) for value in values.tolist()]


def _counted(texts: tuple[LabelledText, ...]) -> dict[str, int]:
    counts = Counter(label for text in texts for label in text.labels)
    return dict(sorted(counts.items()))
