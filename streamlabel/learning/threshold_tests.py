"""Tests thresholds on verdicts, and decides whether those in force stay. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamlabel.errors import ConfigError
from streamlabel.learning.refit import strata_of
from streamlabel.learning.reviewed import Reviewed
from streamlabel.models.calibration.calibration import Calibration
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.labels_missing import what_is_missing
from streamlabel.models.calibration.risk_control import control_risk
from streamlabel.models.calibration.stratified_control import Strata, control_strata
from streamlabel.models.calibration.target_bets import TargetBets
from streamlabel.models.calibration.thresholds import NEVER, Choices, Group, Promise
from streamlabel.models.core.labels import LabelSet

__all__ = ["Aim", "Tests", "tested_thresholds"]

Bools = NDArray[np.bool_]

# Of the level, the part for tests after audits refuted the thresholds in force; the other part is
# for tests where they did not. Which of the two are made depends on the labels.
_IF_REFUTED: Final = 0.2
_REFUTED: Final = "audits refute that the thresholds in force hold the target error"


@dataclass(frozen=True, slots=True)
class Aim:
    """What is to be proven.

    Attributes:
        target: error rate of accepted labels that is guaranteed.
        tested_at: error rate that is tested: above the target if reviewers' errors are allowed for.
        confidence: that is stated.
        tested_with: confidence of the tests: above the stated one if the bounds of reviewers'
            errors take the rest.
    """

    target: float
    tested_at: float
    confidence: float
    tested_with: float


@dataclass(frozen=True, slots=True)
class Tests:
    """What the tests of thresholds said.

    Attributes:
        promise: the thresholds, and what they do to a sample of the traffic.
        records: that they were tested on.
        review_before: share of the traffic in review with the thresholds in force.
        review_after: with those of ``promise``.
        is_kept: the thresholds in force stay: they hold the target as far as audits show, and none
            with less review are proven.
        is_refuted: audits refute that the thresholds in force hold the target.
    """

    promise: Promise
    records: int
    review_before: float
    review_after: float
    is_kept: bool = False
    is_refuted: bool = False


def tested_thresholds(
    data: Reviewed,
    now: CalibrationFile,
    fitted: Calibration | None,
    sample: Choices,
    *,
    aim: Aim,
) -> Tests:
    """Return the thresholds that verdicts prove, or those in force.

    Args:
        data: decided reviews.
        now: the calibration in force.
        fitted: new mapping from scores to probabilities; None: that in force stays.
        sample: of the traffic, every record with the same probability.
        aim: what is to be proven.

    Raises:
        ConfigError: no thresholds are proven, and those in force do not hold the target.
    """
    labels = LabelSet(tuple(now.model.labels), now.model.problem_type)
    limits = tuple(now.limits.get(name, 0.0) for name in labels.names)
    if not data.is_audit.any():  # the sample has everything: one probability for all
        promise = control_risk(sample, target=aim.tested_at, confidence=aim.tested_with)
        if not promise.is_kept:
            raise ConfigError(_missing(sample, aim))
        return Tests(promise, len(sample.label), 1.0, promise.review_share)
    old, strata, _ = strata_of(data, now.calibration, labels)
    new = old if fitted is None else strata_of(data, fitted, labels)[0]
    in_force = old.accepted(limits)
    is_sound = _guarantees(now, aim)
    is_refuted = is_sound and _is_refuted(old, strata, in_force, aim)
    level = 1 - aim.tested_with
    if is_sound:  # the other part of the level is for the tests of the other case
        level *= _IF_REFUTED if is_refuted else 1 - _IF_REFUTED
    is_near = is_sound and not is_refuted
    if is_near:
        groups = control_strata(
            new, strata, target=aim.tested_at, confidence=1 - level, in_force=in_force
        )
    else:  # the result may be anywhere: as calibrate tests, on records of equal probability
        groups = control_risk(sample, target=aim.tested_at, confidence=1 - level).groups
    found = _by_label(groups, labels)
    if is_near and fitted is None and _same_groups(groups, now):
        # what a label has is tested as well: the looser of both, label by label
        found = tuple(min(pair) for pair in zip(found, limits, strict=True))
    before, after = (_review(strata, each) for each in (in_force, new.accepted(found)))
    if is_near and after >= before:
        kept = _promise(sample, limits, (), aim)
        return Tests(kept, len(new.label), before, before, is_kept=True)
    if min(found) == NEVER:
        missing = _missing(sample, aim)
        raise ConfigError(f"{_REFUTED}; {missing}" if is_refuted else missing)
    records = len(new.label) if is_near else len(sample.label)
    return Tests(
        _promise(sample, found, groups, aim), records, before, after, is_refuted=is_refuted
    )


def _missing(sample: Choices, aim: Aim) -> str:
    return what_is_missing(sample, target=aim.tested_at, confidence=aim.tested_with)


def _review(strata: Strata, accepted: Bools) -> float:
    """Return the share of the traffic in review."""
    weights = strata.weights
    return 1 - float(weights[accepted].sum() / weights.sum())


def _guarantees(now: CalibrationFile, aim: Aim) -> bool:
    """Return whether the thresholds in force were tested against this target, or a lower one."""
    section = now.thresholds
    return (
        section is not None
        and section.chosen_by == "promise"
        and section.target_error is not None
        and section.target_error <= aim.target
        and section.confidence >= aim.confidence
    )


def _is_refuted(choices: Choices, strata: Strata, in_force: Bools, aim: Aim) -> bool:
    """Return whether audits refute the target, with the bets of the monitor: at any time."""
    bets = TargetBets(aim.tested_at)
    for is_wrong in choices.is_wrong[strata.is_rare & in_force].tolist():
        bets.saw(is_wrong=is_wrong, probability=1.0)
    return bets.peak >= -math.log(1 - aim.confidence)


def _by_label(groups: Sequence[Group], labels: LabelSet) -> tuple[float, ...]:
    named = {name: group.threshold for group in groups for name in group.labels}
    return tuple(named[name] for name in labels.names)


def _same_groups(groups: Sequence[Group], now: CalibrationFile) -> bool:
    """Return whether the labels that share a threshold are those of the calibration in force."""
    section = now.thresholds
    pools = [] if section is None else section.pooled
    return sorted(sorted(pool) for pool in pools) == sorted(
        sorted(group.labels) for group in groups if len(group.labels) > 1
    )


def _promise(
    sample: Choices, thresholds: tuple[float, ...], groups: Sequence[Group], aim: Aim
) -> Promise:
    """Return the evidence for thresholds, and what they do to a sample of the traffic."""
    accepted = sample.accepted(thresholds)
    return Promise(
        thresholds=thresholds,
        labels=len(accepted),
        accepted=int(accepted.sum()),
        errors=int((sample.is_wrong & accepted).sum()),
        bound=aim.target,
        confidence=aim.confidence,
        target=aim.target,
        groups=tuple(groups),
    )
