"""Thresholds for a target error from records of two kinds, each reviewed with one probability.

Records in review are all seen, accepted ones are audited with a small probability. A sample in
which all have the same probability wastes most of the former. Here all count: the error rate among
what a threshold accepts is a mean of two rates, that of audited records, which few labels tell, and
that of reviewed ones, which many do, weighted by their parts of the traffic. Pure.

A small part of the level bounds what many records tell; with the worst of these values, the number
of wrong audited records has Poisson's distribution, and the rest is a normal sum of many small
terms. Where no reviewed record is accepted, the test is the exact binomial one.

Sources: the worst nuisance parameter of a confidence set, Berger & Boos 1994; levels that pass on
in a fixed order of tests (fallback), Wiens & Dmitrienko 2005.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.calibration.binomial_bounds import labels_needed
from streamlabel.models.calibration.risk_control import groups_of, stricter_steps
from streamlabel.models.calibration.thresholds import NEVER, Choices, Group

__all__ = ["Seen", "Strata", "control_strata", "is_proven"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Part of the level that the bounds of what many records tell take.
_FOR_BOUNDS = 0.06
# Each test accepts this many times as much of the traffic as the one before.
_STEP = 1.02
# Where tests begin if thresholds in force hold the target: at these parts of the way from what they
# accept to all of the traffic (0: as much as they do), with these parts of the level. Little is
# asked for: with few audits, tests further out passed less often (tweets_moderation, simulated).
_STARTS_IN_FORCE = ((0.0, 0.75), (0.35, 0.25))
_HALVINGS = 30


@dataclass(frozen=True, slots=True)
class Strata:
    """How records of two kinds came to review.

    Attributes:
        is_rare: shape (N,): of the kind that was seen with the lower probability (audits).
        ratio: its probability over that of the other kind, > 0.
    """

    is_rare: Bools
    ratio: float

    @property
    def weights(self) -> Floats:
        """The part of the traffic that each record (N,) stands for, 1 for a rare one."""
        return np.where(self.is_rare, 1.0, self.ratio)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of the records that a threshold accepts.

    Attributes:
        rare: records of the rare kind.
        rare_wrong: how many of these are wrong.
        common: records of the other kind.
        common_wrong: how many of these are wrong.
    """

    rare: int
    rare_wrong: int
    common: int
    common_wrong: int


def is_proven(seen: Seen, *, ratio: float, target: float, level: float) -> bool:
    """Return whether the error rate of all that a threshold accepts is below the target.

    Args:
        seen: among the labelled records.
        ratio: probability of seeing a record of the rare kind over that of the other kind.
        target: error rate, in (0, 1).
        level: largest probability of a wrong yes, in (0, 1).
    """
    from scipy.special import bdtr, gammaincinv, ndtr, pdtr

    if not seen.rare:
        return False
    if not seen.common:
        return bool(bdtr(seen.rare_wrong, seen.rare, target) <= level)
    # Of rare records and of common ones, in units of rare ones: wrong - odds * right has a mean of
    # 0 at the target. All four numbers are independent, with Poisson's distribution.
    odds = target / (1 - target)
    rare_right, common_right = seen.rare - seen.rare_wrong, seen.common - seen.common_wrong
    found = seen.rare_wrong + ratio * seen.common_wrong - odds * (rare_right + ratio * common_right)
    if found >= 0:
        return False
    # The mean of wrong rare records follows from the other three. The more of them there are, the
    # larger is the variance, and with it the probability of what was found:
    side = level * _FOR_BOUNDS / 3
    right = float(gammaincinv(rare_right + 1, 1 - side))
    common = float(gammaincinv(common_right + 1, 1 - side))
    wrong = float(gammaincinv(seen.common_wrong, side)) if seen.common_wrong else 0.0
    mean = odds * (right + ratio * common) - ratio * wrong
    # the sum of the other three has hundreds of small terms
    spread = math.sqrt(odds**2 * (right + ratio**2 * common) + ratio**2 * wrong)
    counts = np.arange(int(mean + 12 * math.sqrt(mean)) + 20)
    probable = np.diff(pdtr(counts, mean), prepend=0.0)
    p = float((probable * ndtr((found - counts + mean) / spread)).sum())
    return p <= level * (1 - _FOR_BOUNDS)


def control_strata(
    choices: Choices,
    strata: Strata,
    *,
    target: float,
    confidence: float,
    in_force: Bools,
) -> tuple[Group, ...]:
    """Return the loosest thresholds whose accepted error is proven to be at most ``target``.

    Labels with enough records are proven on their own, the others as one pool, as
    ``control_risk`` does. Tests go from strict to loose, beginning at several starts with a part of
    the level each; a test that passes hands its level on to the next one.

    Args:
        choices: labelled records, N.
        strata: how they came to review.
        target: largest share of errors among accepted texts, in (0, 1).
        confidence: probability that the target holds, in (0, 1).
        in_force: shape (N,), what thresholds accept that hold the target so far: tests begin near
            them.
    """
    members = groups_of(choices, target=target, confidence=confidence, weights=strata.weights)
    alpha = (1 - confidence) / len(members)
    return tuple(
        _proven(choices, strata, group, target=target, alpha=alpha, in_force=in_force)
        for group in members
    )


def _proven(
    choices: Choices,
    strata: Strata,
    members: Sequence[int],
    *,
    target: float,
    alpha: float,
    in_force: Bools,
) -> Group:
    names = tuple(choices.names[index] for index in members)
    inside = choices.is_open & np.isin(choices.label, members)
    order = np.flatnonzero(inside)[np.argsort(-choices.confidence[inside], kind="stable")]
    ranked, is_rare = choices.confidence[order], strata.is_rare[order]
    is_wrong = choices.is_wrong[order]
    mass = np.cumsum(strata.weights[order])
    accepted = float(strata.weights[order][in_force[order]].sum())
    counts, levels = _plan(mass, accepted, target=target, alpha=alpha)
    sums = [np.cumsum(part) for part in (is_rare, is_rare & is_wrong, is_wrong)]
    # equal confidences are accepted together
    ends = np.searchsorted(-ranked, -ranked, side="right")

    def seen(count: int) -> Seen:
        end = int(ends[count - 1])
        rare, rare_wrong, wrong = (int(each[end - 1]) for each in sums)
        return Seen(rare, rare_wrong, end - rare, wrong - rare_wrong)

    passed: list[tuple[int, float]] = []
    carried = 0.0
    for count, own in zip(counts, levels, strict=True):
        level = own + carried
        carried = 0.0
        if level and is_proven(seen(count), ratio=strata.ratio, target=target, level=level):
            carried = level
            passed.append((count, level))
    if not passed:
        return Group(names, NEVER, 0, 0, 1.0)
    count, level = passed[-1]
    last = seen(count)
    low, high = 0.0, target
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle and is_proven(last, ratio=strata.ratio, target=middle, level=level):
            high = middle
        else:
            low = middle
    return Group(
        names,
        float(ranked[count - 1]),
        last.rare + last.common,
        last.rare_wrong + last.common_wrong,
        high,
        stricter_steps([float(ranked[each - 1]) for each, _ in passed], ranked, mass),
    )


def _plan(
    mass: Floats, accepted: float, *, target: float, alpha: float
) -> tuple[list[int], list[float]]:
    """Return how many of the ranked records each test accepts, and the levels that begin there.

    Nothing of this depends on the labels.

    Args:
        mass: shape (N,), of the traffic, accumulated along the ranked records.
        accepted: of the traffic, with the thresholds in force.
        target: error rate.
        alpha: to be shared out.
    """
    whole = float(mass[-1]) if len(mass) else 0.0
    least = float(labels_needed(target, confidence=1 - alpha))
    if whole < least:
        return [], []
    at, parts = zip(*_STARTS_IN_FORCE, strict=True)
    begin = min(max(accepted, least), whole)
    starts, shares = begin + np.array(at) * (whole - begin), alpha * np.array(parts)
    first = float(starts.min())
    steps = np.geomspace(first, whole, 2 + int(np.log(whole / first) / np.log(_STEP)))
    masses, index = np.unique(np.concatenate([starts, steps]), return_inverse=True)
    counts = np.minimum(np.searchsorted(mass, masses * (1 - 1e-12)) + 1, len(mass))
    own = np.zeros(len(masses))
    np.add.at(own, index[: len(starts)], shares)
    return counts.tolist(), own.tolist()
