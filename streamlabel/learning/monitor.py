"""Monitors the target error: what the verdicts about audited records say about it. Pure.

For each deployment, calibration and set of thresholds there are bets on the error rate of all
accepted records, and on that of each predicted label; of a multi-label task, on that of the answers
about each label with a guarantee. They begin again when any of these changes.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from streamlabel.consumer.output.verdict import VerdictMessage
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.target_bets import TargetBets

__all__ = ["Standing", "Target", "TargetMonitor", "Watched", "is_audit"]

_LN_10: Final = math.log(10)
# Of the upper bounds that are shown.
_BOUND: Final = 0.95


@dataclass(frozen=True, slots=True)
class Target:
    """What a calibration guarantees.

    Attributes:
        error: largest error rate of accepted records.
        confidence: of the guarantee; an alarm is wrong with a probability of at most 1 -
            confidence, whenever one looks.
        labels: number of labels, which share this probability for alarms of their own.
        by_answer: multi-label: label -> error rate of the answers about it in accepted records;
            empty: ``error`` is that of whole records.
    """

    error: float
    confidence: float
    labels: int
    by_answer: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, file: CalibrationFile) -> Self | None:
        """Return that of a file; None if it guarantees none."""
        found = file.thresholds
        promised = {} if file.answers is None else file.answers.guarantees
        if found is not None and promised:
            errors = {label: each.target_error for label, each in promised.items()}
            return cls(max(errors.values()), found.confidence, len(errors), errors)
        if found is None or found.target_error is None:
            return None
        return cls(found.target_error, found.confidence, len(file.model.labels))


@dataclass(frozen=True, slots=True)
class Watched:
    """What the bets are about: they begin again when any of it changes."""

    task: str | None
    deployment_id: str | None
    calibration_id: str | None
    threshold_set_id: str | None

    @classmethod
    def of(cls, verdict: VerdictMessage) -> Self:
        """Return what a verdict is about."""
        return cls(
            verdict.task, verdict.deployment_id, verdict.calibration_id, verdict.threshold_set_id
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """The present state of one series of bets.

    Attributes:
        label: predicted label; None: all accepted records. With ``is_answer`` the label that the
            answers, present or absent, are about.
        target: error rate that is bet against.
        audits: decided ones.
        wrong: of those.
        undecided: audits whose reviewers did not decide (unsure, escalated, skipped).
        evidence: logarithm to base 10 of the capital: 2 is 100 to 1 against the target.
        alarm_at: value of ``evidence`` from which on there is an alarm.
        upper: upper bound of the error rate (95 %), valid at all times.
        has_alarm: whether ``evidence`` was at ``alarm_at`` at any time.
    """

    watched: Watched
    label: str | None
    target: float
    audits: int
    wrong: int
    undecided: int
    evidence: float
    alarm_at: float
    upper: float
    has_alarm: bool
    is_answer: bool = False


class _Series:
    """The bets about all accepted records, or about one label."""

    def __init__(self, target: Target, label: str | None) -> None:
        self.label = label
        self.target = target
        self.is_answer = bool(target.by_answer)
        self.error = target.by_answer[label] if label and self.is_answer else target.error
        self.bets = TargetBets(self.error)
        self.undecided = 0
        shares = 1 if label is None else target.labels
        self.alarm_at = math.log10(shares / (1 - target.confidence))

    @property
    def has_alarm(self) -> bool:
        return self.bets.peak / _LN_10 >= self.alarm_at

    def standing(self, watched: Watched) -> Standing:
        return Standing(
            watched,
            self.label,
            self.error,
            self.bets.audits,
            self.bets.wrong,
            self.undecided,
            self.bets.log_evidence / _LN_10,
            self.alarm_at,
            self.bets.upper_bound(confidence=_BOUND),
            self.has_alarm,
            self.is_answer,
        )


@dataclass(frozen=True, slots=True)
class _Placed:
    """A bet that was made, or an audit without a decision (``weight`` None)."""

    series: _Series
    is_wrong: bool
    weight: float | None


class TargetMonitor:
    """Bets on each verdict about an audited record, in order of arrival.

    Args:
        targets: calibration id -> what it guarantees. Verdicts of other calibrations are counted in
            ``unknown``.

    Attributes:
        unknown: number of audits whose calibration is not in ``targets``, by its id.
    """

    def __init__(self, targets: Mapping[str, Target]) -> None:
        self._targets = dict(targets)
        self._series: dict[Watched, dict[str | None, _Series]] = {}
        self._placed: dict[str, list[_Placed]] = {}
        self.unknown: dict[str | None, int] = {}

    def know(self, calibration_id: str, target: Target) -> None:
        """Add what another calibration guarantees."""
        self._targets[calibration_id] = target

    def saw(self, verdict: VerdictMessage) -> list[Standing]:
        """Count a verdict; a later one about the same review replaces the earlier one.

        Returns:
            The series that this verdict brought to an alarm.
        """
        if not is_audit(verdict):
            return []
        self.withdraw(verdict.review_id)
        target = self._targets.get(verdict.calibration_id or "")
        if target is None:
            key = verdict.calibration_id
            self.unknown[key] = self.unknown.get(key, 0) + 1
            return []
        watched = Watched.of(verdict)
        alarms = []
        placed = self._placed[verdict.review_id] = []
        for series in self._series_of(watched, verdict, target):
            before = series.has_alarm
            placed.append(_bet(series, verdict))
            if series.has_alarm and not before:
                alarms.append(series.standing(watched))
        return alarms

    def withdraw(self, review_id: str) -> None:
        """Take back what was bet because of the verdict of a review; alarms stay."""
        for placed in self._placed.pop(review_id, ()):
            if placed.weight is None:
                placed.series.undecided -= 1
            else:
                placed.series.bets.forget(is_wrong=placed.is_wrong, weight=placed.weight)

    def standings(self) -> Iterator[Standing]:
        """Yield every series: in order of appearance; all records first, then label by label."""
        for watched, by_label in self._series.items():
            for label in sorted(by_label, key=lambda name: (name is not None, name or "")):
                yield by_label[label].standing(watched)

    def latest(self) -> dict[str | None, Watched]:
        """Return, by task, what the last deployment to appear is."""
        return {watched.task: watched for watched in self._series}

    def _series_of(
        self, watched: Watched, verdict: VerdictMessage, target: Target
    ) -> list[_Series]:
        known = self._series.setdefault(watched, {})
        if target.by_answer:  # an accepted record says something about each of them
            return [known.setdefault(name, _Series(target, name)) for name in target.by_answer]
        names: list[str | None] = [None]
        if verdict.model_labels is not None and len(verdict.model_labels) == 1:
            names.append(verdict.model_labels[0])
        return [known.setdefault(name, _Series(target, name)) for name in names]


def _bet(series: _Series, verdict: VerdictMessage) -> _Placed:
    if verdict.labels is None or verdict.review_probability is None:
        series.undecided += 1
        return _Placed(series, False, None)
    right, said = set(verdict.labels), set(verdict.model_labels or ())
    is_wrong = series.label in right ^ said if series.is_answer else right != said
    weight = series.bets.saw(is_wrong=is_wrong, probability=verdict.review_probability)
    return _Placed(series, is_wrong, weight)


def is_audit(verdict: VerdictMessage) -> bool:
    """Return whether a verdict is the first look at an accepted record that was drawn."""
    return (
        verdict.look == 1
        and verdict.purpose in {"audit", "review"}
        and verdict.reasons == ["audit"]
        and verdict.model_labels is not None
    )
