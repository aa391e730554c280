"""From a model's predictions to a calibration file: fit, choose thresholds, keep the evidence."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlabel import __version__
from streamlabel.config.settings import RoutingSettings, Settings
from streamlabel.consumer.routing.proven_settings import proven_under
from streamlabel.consumer.routing.router import routing_policy
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration import Calibration
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.calibration_fit import Fitted, calibrated, fit_calibration
from streamlabel.models.calibration.calibration_sections import (
    Evidence,
    FittedOn,
    Mapped,
    MissedLimit,
    PrecisionUsed,
    PredictionSets,
    Reference,
)
from streamlabel.models.calibration.outcomes import MissedTarget
from streamlabel.models.calibration.prediction_sets import fit_limits
from streamlabel.quality.accepted import by_label
from streamlabel.quality.choosing import (
    Wish,
    choices_of,
    choose_thresholds,
)
from streamlabel.quality.evaluation import Scored
from streamlabel.quality.labelled import LabelledText
from streamlabel.quality.scoring import Answers
from streamlabel.quality.threshold_sections import (
    answers_section,
    stricter_section,
    thresholds_section,
)

__all__ = ["calibrate", "with_reviewed"]

# Points of a reference distribution: one per half per cent.
_QUANTILES = 201
# A calibration fitted to fewer texts is worse than none.
_LEAST_TEXTS = 50


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
    choices = choices_of(answers, scored, policy)
    promise, missed = choose_thresholds(choices, wish)
    thresholds = None if promise is None else thresholds_section(promise, wish, answers.labels)
    stricter = {} if promise is None else stricter_section(promise)
    by_answer = None if promise is None else answers_section(promise, answers.labels)
    file = file.model_copy(
        update={"thresholds": thresholds, "stricter": stricter, "answers": by_answer}
    )
    if thresholds is None:  # then those of the settings decide what is reviewed
        routing = settings.routing
    reviewed = ~answers.is_accepted(routing_policy(answers.labels, routing, calibration=file))
    if thresholds is not None:
        limits = {each.label: _missed_limit(each) for each in missed}
        file = file.model_copy(update={"by_label": by_label(scored, ~reviewed), "missed": limits})
    sets = _prediction_sets(scored, reviewed, miss_rate=round(1 - wish.confidence, 6))
    return file.model_copy(update={"prediction_sets": sets}).with_id()


def with_reviewed(file: CalibrationFile, answers: Answers, wish: Wish) -> CalibrationFile:
    """Return the file with what follows from its thresholds: counts by label, prediction sets."""
    scored = Scored(answers.labels, _probabilities(answers, file.calibration), answers.truth)
    policy = routing_policy(answers.labels, RoutingSettings(), calibration=file)
    reviewed = ~answers.is_accepted(policy)
    sets = _prediction_sets(scored, reviewed, miss_rate=round(1 - wish.confidence, 6))
    update = {"prediction_sets": sets, "by_label": by_label(scored, ~reviewed)}
    return file.model_copy(update=update).with_id()


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
    details = answers.identity.details
    layers, difference = details.get("exact_layers"), details.get("precision_difference")
    return PrecisionUsed(
        exact_layers=None if layers is None else int(layers),
        tolerance=None if difference is None else float(difference),
    )


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


def _missed_limit(found: MissedTarget) -> MissedLimit:
    return MissedLimit(
        target=found.target,
        confidence=found.confidence,
        floor=found.floor,
        texts=found.texts,
        missed=found.missed,
    )


def _prediction_sets(
    scored: Scored, reviewed: NDArray[np.bool_], *, miss_rate: float
) -> PredictionSets | None:
    """Fit the reviewers' lists to the texts in review, the only ones that they are shown for."""
    if scored.is_multi:
        return None
    truth = scored.truth.argmax(axis=1)
    limits = fit_limits(scored.probabilities[reviewed], truth[reviewed], miss_rate=miss_rate)
    named = dict(zip(scored.labels.names, limits, strict=True))
    return PredictionSets(miss_rate=miss_rate, limits=named, reviewed=int(reviewed.sum()))


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
