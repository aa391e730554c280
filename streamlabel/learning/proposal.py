"""Puts a proposal together: a calibration file from verdicts, and what it would change."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import numpy as np

from streamlabel import __version__
from streamlabel.learning.refit import Refit, refit, sample_of
from streamlabel.learning.reviewed import Reviewed
from streamlabel.learning.threshold_tests import Aim, Tests, tested_thresholds
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.calibration_sections import (
    Evidence,
    LabelOutcome,
    Mapped,
    Reference,
)
from streamlabel.models.calibration.outcomes import count_by_label
from streamlabel.models.calibration.thresholds import Choices, Promise
from streamlabel.models.core.labels import LabelSet
from streamlabel.quality.choosing import Wish
from streamlabel.quality.threshold_sections import stricter_section, thresholds_section

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
        file: to be written; the one in force if that stays.
        fit: the evidence for its mapping.
        tests: the evidence for its thresholds.
    """

    file: CalibrationFile
    fit: Refit
    tests: Tests


def propose(
    data: Reviewed,
    now: CalibrationFile,
    *,
    target: float,
    tested_at: float,
    confidence: float,
    max_weight: float,
    tested_with: float | None = None,
) -> Proposal:
    """Return the calibration that verdicts support.

    It never sends more to review than the one in force does while that one guarantees the target
    and audits do not refute it: then the one in force stays.

    Args:
        data: decided reviews.
        now: the calibration in force.
        target: error rate of accepted labels that the file will guarantee.
        tested_at: error rate that is tested: the target, or above it if reviewers' errors are
            corrected for.
        confidence: that the file will state.
        max_weight: largest weight of a verdict in the fit.
        tested_with: confidence of the tests: above the stated one if the bounds of reviewers'
            errors take the rest; None: the stated one.

    Raises:
        ConfigError: there are too few verdicts, no audits, or no threshold holds the target.
    """
    labels = LabelSet(tuple(now.model.labels), now.model.problem_type)
    fit = refit(data, now.calibration, max_weight=max_weight)
    accepts_nothing = min(now.limits.get(name, 0.0) for name in labels.names) > 1
    # a sample of the traffic; raises if no record was audited
    sample = sample_of(data, fit.calibration, labels, everything_reviewed=accepts_nothing)
    tests = tested_thresholds(
        data,
        now,
        None if fit.method is None else fit.calibration,
        sample,
        aim=Aim(target, tested_at, confidence, tested_with or confidence),
    )
    file = now
    if not tests.is_kept:
        file = _file(data, now, fit, tests, sample, target=target, confidence=confidence)
    return Proposal(file, fit, tests)


def _file(
    data: Reviewed,
    now: CalibrationFile,
    fit: Refit,
    tests: Tests,
    sample: Choices,
    *,
    target: float,
    confidence: float,
) -> CalibrationFile:
    labels = LabelSet(tuple(now.model.labels), now.model.problem_type)
    wish = Wish(target_error=target, confidence=confidence)
    section = thresholds_section(tests.promise, wish, labels).model_copy(
        update={
            "target_error": target,
            "bound": target,
            "confidence": confidence,
            "summary": _summary(tests, target, confidence),
        }
    )
    return now.model_copy(
        update={
            "schema_": "streamlabel.calibration/v2",
            "mapping": now.mapping if fit.method is None else _mapped(fit, labels),
            "thresholds": section,
            "stricter": stricter_section(tests.promise),
            "by_label": _outcomes(sample, tests.promise),
            "missed": {},  # a limit of missed texts was tested with other thresholds
            "prediction_sets": now.prediction_sets if fit.method is None else None,
            "reference": _reference(now, sample, labels),
            "evidence": _evidence(data, fit, labels),
        }
    ).with_id()


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


def _summary(tests: Tests, target: float, confidence: float) -> str:
    text = (
        f"review {tests.review_after:.1%} of traffic; accepted error <= {target:.1%}"
        f" ({confidence:.0%}), {tests.records:,} verdicts"
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
