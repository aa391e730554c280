"""Puts a proposal together: a calibration file from verdicts, and what it would change."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import numpy as np

from streamlabel import __version__
from streamlabel.errors import ConfigError
from streamlabel.learning.refit import Refit, refit, sample_of
from streamlabel.learning.reviewed import Reviewed
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.calibration_sections import (
    Evidence,
    LabelOutcome,
    Mapped,
    Reference,
)
from streamlabel.models.calibration.labels_missing import what_is_missing
from streamlabel.models.calibration.outcomes import count_by_label
from streamlabel.models.calibration.risk_control import control_risk
from streamlabel.models.calibration.thresholds import Choices, Promise
from streamlabel.models.core.labels import LabelSet
from streamlabel.quality.choosing import Wish, stricter_section, thresholds_section

__all__ = ["AcceptedError", "Proposal", "accepted_error", "propose"]


@dataclass(frozen=True, slots=True)
class AcceptedError:
    """The error rate of accepted labels as audits show it.

    Attributes:
        wrong: weighted share of audits that reviewers changed.
        best: the same if all undecided audits were right.
        worst: the same if all were wrong.
        audits: decided ones.
        undecided: of all audits, without a decision.
    """

    wrong: float
    best: float
    worst: float
    audits: int
    undecided: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """A calibration from verdicts.

    Attributes:
        file: to be written.
        fit: the evidence for its mapping.
        promise: the evidence for its thresholds.
        sample: records that the thresholds were tested on.
        review_before: share of those that goes to review with the thresholds in force.
    """

    file: CalibrationFile
    fit: Refit
    promise: Promise
    sample: int
    review_before: float


def propose(
    data: Reviewed,
    now: CalibrationFile,
    *,
    target: float,
    tested_at: float,
    confidence: float,
    max_weight: float,
) -> Proposal:
    """Return the calibration that verdicts support.

    Args:
        data: decided reviews.
        now: the calibration in force.
        target: error rate of accepted labels that the file will guarantee.
        tested_at: error rate that is tested: the target, or above it if reviewers' errors are
            corrected for.
        confidence: of the test.
        max_weight: largest weight of a verdict in the fit.

    Raises:
        ConfigError: there are too few verdicts, no audits, or no threshold holds the target.
    """
    labels = LabelSet(tuple(now.model.labels), now.model.problem_type)
    fit = refit(data, now.calibration, max_weight=max_weight)
    limits = [now.limits.get(name, 0.0) for name in labels.names]
    accepts_nothing = min(limits) > 1
    choices = sample_of(data, fit.calibration, labels, everything_reviewed=accepts_nothing)
    promise = control_risk(choices, target=tested_at, confidence=confidence)
    if not promise.is_kept:
        raise ConfigError(what_is_missing(choices, target=tested_at, confidence=confidence))
    before = sample_of(data, now.calibration, labels, everything_reviewed=accepts_nothing)
    wish = Wish(target_error=target, confidence=confidence)
    section = thresholds_section(promise, wish, labels).model_copy(
        update={"target_error": target, "bound": target, "summary": _summary(promise, target)}
    )
    file = now.model_copy(
        update={
            "schema_": "streamlabel.calibration/v2",
            "mapping": now.mapping if fit.method is None else _mapped(fit, labels),
            "thresholds": section,
            "stricter": stricter_section(promise),
            "by_label": _outcomes(choices, promise),
            "missed": {},  # a limit of missed texts was tested with other thresholds
            "prediction_sets": now.prediction_sets if fit.method is None else None,
            "reference": _reference(now, choices, labels),
            "evidence": _evidence(data, fit, labels),
        }
    ).with_id()
    return Proposal(
        file, fit, promise, len(choices.label), 1 - float(before.accepted(limits).mean())
    )


def accepted_error(data: Reviewed, undecided: int) -> AcceptedError | None:
    """Return the error rate of accepted labels in audits; None without audits."""
    audits = data.is_audit
    if not audits.any():
        return None
    weights = 1 / data.probability[audits]
    wrong = np.array(
        [
            set(verdict.labels or ()) != set(verdict.model_labels or ())
            for verdict, is_audit in zip(data.verdicts, audits, strict=True)
            if is_audit
        ]
    )
    rate = float(np.average(wrong, weights=weights))
    share = undecided / (undecided + len(wrong))
    return AcceptedError(
        rate, rate * (1 - share), rate * (1 - share) + share, len(wrong), undecided
    )


def _summary(promise: Promise, target: float) -> str:
    text = (
        f"review {promise.review_share:.1%} of traffic; accepted error <= {target:.1%}"
        f" ({promise.confidence:.0%}), {promise.labels:,} verdicts"
    )
    return text.replace("%", " %")


def _mapped(fit: Refit, labels: LabelSet) -> Mapped:
    found = fit.calibration
    parts = {
        name: dict(zip(labels.names, values, strict=True)) if values else {}
        for name, values in (
            ("bias", found.bias), ("slopes", found.slopes), ("offsets", found.offsets)
        )
    }  # fmt: skip
    return Mapped(
        method=fit.method or "identity",
        temperature=found.temperature,
        notes=[f"from verdicts, {fit.effective:,.0f} labels of equal weight"],
        **parts,
    )


def _outcomes(choices: Choices, promise: Promise) -> dict[str, LabelOutcome]:
    decided, truth = choices.decided, choices.truth
    if decided is None or truth is None:
        raise ValueError("outcomes need decisions and truth. This is a bug.")
    accepted = choices.accepted(promise.thresholds)
    return {
        each.label: LabelOutcome(
            texts=each.texts,
            predicted=each.predicted,
            accepted=each.accepted,
            wrong=each.wrong,
            missed=each.missed,
        )
        for each in count_by_label(decided, truth, accepted, choices.names)
    }


def _reference(now: CalibrationFile, choices: Choices, labels: LabelSet) -> Reference | None:
    """Return statistics of the sample; lengths are not in verdicts, so those of before stay."""
    if now.reference is None or choices.judged_whole:
        return now.reference
    at = np.linspace(0, 1, len(now.reference.confidence_quantiles))
    counts = np.bincount(choices.label, minlength=len(labels)).tolist()
    quantiles = cast("list[float]", np.quantile(choices.confidence, at).tolist())
    return Reference(
        items=len(choices.label),
        labels=dict(zip(labels.names, counts, strict=True)),
        confidence_quantiles=[min(1.0, max(0.0, round(value, 5))) for value in quantiles],
        length_quantiles=now.reference.length_quantiles,
    )


def _evidence(data: Reviewed, fit: Refit, labels: LabelSet) -> Evidence:
    counts = dict(zip(labels.names, data.truth.sum(0).tolist(), strict=True))
    return Evidence(
        made_on=datetime.now(UTC).date().isoformat(),
        items=len(data),
        by_label=counts,
        log_loss_before=fit.before,
        log_loss_after=fit.after,
        versions={"streamlabel": __version__},
    )
