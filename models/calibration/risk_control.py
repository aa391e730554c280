"""Risk control: thresholds whose error rate among accepted labels is at most ``target``.

The bound holds with probability ``confidence`` over the sampling of the labelled texts, for traffic
with the same distribution.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.calibration.binomial_bounds import labels_needed, upper_bound
from streamlabel.models.calibration.sequence_plan import passed_tests, plan_sequences
from streamlabel.models.calibration.thresholds import NEVER, Choices, Group, Promise

__all__ = ["Proven", "control_risk", "groups_of", "prove", "stricter_steps"]

# A class (or a pool) gets its own threshold if it has this many times the fewest texts that could
# pass; with fewer, the wider exact bounds cost more than a separate threshold gains.
_ENOUGH = 8
# A stricter threshold that is kept for later accepts at most this part of the texts that the looser
# one accepts: a smaller step would change little after an alarm.
_STEP = 0.8


def control_risk(
    choices: Choices,
    *,
    target: float,
    confidence: float = 0.95,
    floors: Sequence[float] | None = None,
) -> Promise:
    """Return the loosest thresholds whose accepted error is proven to be at most ``target``.

    Labels with enough texts are proven on their own, the others as one pool; ``1 - confidence``
    is shared out among these groups. Within a group, thresholds are tested from strict to loose,
    as ``sequence_plan`` says; the loosest one that passes counts.

    Args:
        choices: labelled texts, drawn like the traffic.
        target: largest share of errors among accepted texts, in (0, 1).
        confidence: probability that the target holds, in (0, 1).
        floors: shape (K,): no threshold is below that of its label. All tests that pass hold at the
            same time, so a stricter one of them may be taken; None: there are no floors.

    Source: Learn then Test, Angelopoulos et al. 2021; Clopper-Pearson bounds; selective
    classification, Geifman & El-Yaniv 2017.
    """
    members = groups_of(choices, target=target, confidence=confidence)
    level = 1 - (1 - confidence) / len(members)
    lowest = [0.0 if floors is None else max(floors[i] for i in group) for group in members]
    groups = [
        _proven(choices, group, target=target, level=level, floor=floor)
        for group, floor in zip(members, lowest, strict=True)
    ]
    thresholds = [NEVER] * len(choices.names)
    for indexes, group in zip(members, groups, strict=True):
        for index in indexes:
            thresholds[index] = group.threshold
    accepted = choices.accepted(thresholds)
    return Promise(
        thresholds=tuple(thresholds),
        labels=len(accepted),
        accepted=int(accepted.sum()),
        errors=int((choices.is_wrong & accepted).sum()),
        bound=target,
        confidence=confidence,
        target=target,
        groups=tuple(groups),
    )


def groups_of(
    choices: Choices,
    *,
    target: float,
    confidence: float,
    weights: NDArray[np.float64] | None = None,
) -> list[tuple[int, ...]]:
    """Group the labels by how often they were chosen, without looking at errors.

    Args:
        choices: labelled texts, N.
        target: error rate, in (0, 1).
        confidence: of the guarantee, which the groups share.
        weights: shape (N,), what each text counts; None: 1.
    """
    everything = tuple(range(len(choices.names)))
    if choices.judged_whole:
        return [everything]
    weighed = None if weights is None else weights[choices.is_open]
    counts = np.bincount(choices.label[choices.is_open], weighed, minlength=len(everything))
    order = sorted(everything, key=lambda index: -int(counts[index]))
    for alone in range(len(order), 0, -1):
        pool = tuple(sorted(order[alone:]))
        groups = [(index,) for index in order[:alone]] + ([pool] if pool else [])
        least = _ENOUGH * _needed(target, 1 - (1 - confidence) / len(groups))
        if all(sum(counts[index] for index in group) >= least for group in groups):
            return groups
    return [everything]


def _proven(
    choices: Choices, members: Sequence[int], *, target: float, level: float, floor: float
) -> Group:
    inside = choices.is_open & np.isin(choices.label, members)
    order = np.argsort(-choices.confidence[inside], kind="stable")
    names = tuple(choices.names[index] for index in members)
    found = prove(
        choices.confidence[inside][order],
        choices.is_wrong[inside][order],
        target=target,
        alpha=1 - level,
        floor=floor,
    )
    if found is None:
        return Group(names, NEVER, 0, 0, 1.0)
    return Group(names, found.threshold, found.accepted, found.errors, found.bound, found.stricter)


@dataclass(frozen=True, slots=True)
class Proven:
    """The loosest threshold of a sequence whose test passed.

    Attributes:
        threshold: confidence of the last text that is accepted.
        accepted: texts at or above it.
        errors: how many of these are wrong; of several questions, the most about one.
        bound: upper bound of the true error rate of accepted texts, at the level of the test.
        stricter: thresholds of tests that passed before, ascending.
    """

    threshold: float
    accepted: int
    errors: int
    bound: float
    stricter: tuple[float, ...]


def prove(
    confidence: NDArray[np.float64],
    is_wrong: NDArray[np.bool_],
    *,
    target: float,
    alpha: float,
    floor: float = 0.0,
    least: int = 0,
    last_start: float | None = None,
) -> Proven | None:
    """Return the loosest threshold that is proven; None: none is.

    Args:
        confidence: shape (N,), descending.
        is_wrong: shape (N,); or (N, M), of M questions about each text: a test passes if it does
            for each of them, and ``alpha`` is the level of each.
        target: largest share of errors, in (0, 1).
        alpha: probability that any test passes wrongly, in (0, 1).
        floor: no threshold is below it.
        least: no test begins with fewer texts.
        last_start: share of the texts at which the last sequence of tests begins; None: as usual.
    """
    from scipy.special import bdtr

    wrong = np.cumsum(is_wrong, axis=0)
    if wrong.ndim > 1:
        wrong = wrong.max(axis=1)  # the test with the most errors is the last one to pass
    # equal confidences are accepted together
    ends = np.searchsorted(-confidence, -confidence, side="right")

    def passes(count: int, level: float) -> bool:
        accepted = int(ends[count - 1])
        return bool(bdtr(wrong[accepted - 1], accepted, target) <= level)

    more = {} if last_start is None else {"last_start": last_start}
    plan = plan_sequences(len(confidence), target=target, alpha=alpha, least=least, **more)
    found = [each for each in passed_tests(plan, passes) if confidence[each.count - 1] >= floor]
    if not found:
        return None
    last = found[-1]
    count = int(ends[last.count - 1])
    errors = int(wrong[count - 1])
    bound = upper_bound(errors, count, confidence=1 - last.level)
    mass = np.arange(1, len(confidence) + 1, dtype=np.float64)
    stricter = stricter_steps([float(confidence[t.count - 1]) for t in found], confidence, mass)
    return Proven(float(confidence[count - 1]), count, errors, bound, stricter)


def stricter_steps(
    passed: Sequence[float], ranked: NDArray[np.float64], mass: NDArray[np.float64]
) -> tuple[float, ...]:
    """Return the thresholds of tests that passed before the last one, ascending.

    Args:
        passed: thresholds that passed; the lowest one is in use.
        ranked: shape (N,), confidences, descending.
        mass: shape (N,), of the traffic, accumulated along them.
    """
    kept: list[float] = []
    most = np.inf
    for threshold in sorted(set(passed)):
        accepted = float(mass[np.searchsorted(-ranked, -threshold, side="right") - 1])
        if most == np.inf:
            most = accepted  # the one in use
        elif accepted <= _STEP * most:
            kept.append(threshold)
            most = accepted
    return tuple(kept)


@lru_cache(maxsize=256)
def _needed(target: float, level: float) -> int:
    return labels_needed(target, confidence=level)
