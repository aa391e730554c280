"""Which thresholds are tested against a target error, in which order, and at which levels. Pure.

A test asks whether the error rate among the n most confident texts is at most the target. Tests are
made where they are sharpest: for k = 0, 1, 2, ... errors, at the fewest texts that prove the target
with k errors. They begin at several starts, so that an unlucky error among the most confident texts
does not send everything to review, and go on from each test that passes to the next one.

The tests overlap, so that they hardly ever pass wrongly in different samples: instead of sharing
the level out equally (Bonferroni), each gets the level at which the probability that any start
passes wrongly is exactly ``alpha``, for independent errors at the target rate. When a test passes,
only later ones can still pass wrongly, so that the level rises, up to ``alpha`` itself. Nothing of
this depends on the labels but the results of tests that were made before.

Sources: fixed sequences of tests as in Learn then Test, Angelopoulos et al. 2021; raising levels
after a rejection, Holm 1979 and the closed testing of Marcus, Peritz & Gabriel 1976.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["PassedTest", "SequencePlan", "passed_tests", "plan_sequences"]

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

# Starts, spread geometrically over the first 60 % of the texts. Measured (benchmarks.procedures):
# with three, coverage is lower after early errors; with ten, nothing is gained.
_STARTS = 6
_LAST_START = 0.6
# Halvings in the search for a level; the result is on the safe side.
_HALVINGS = 12


@dataclass(frozen=True, slots=True)
class PassedTest:
    """One test that passed.

    Attributes:
        count: most confident texts that it was about.
        level: probability that it passes wrongly.
    """

    count: int
    level: float


@dataclass(frozen=True, slots=True, eq=False)
class SequencePlan:
    """The tests for a number of texts. Levels and counts are computed when they are asked for.

    Attributes:
        starts: numbers of errors, ascending; the tests for these begin a sequence.
        items: texts that may be accepted.
        target: error rate, in (0, 1).
        alpha: probability that any test passes wrongly, in (0, 1).
    """

    starts: tuple[int, ...]
    items: int
    target: float
    alpha: float
    _levels: dict[int, float] = field(default_factory=dict, repr=False)
    _counts: dict[int, Integers] = field(default_factory=dict, repr=False)

    def stage(self, errors: int) -> int:
        """Return the index of the last start with at most this many errors."""
        return int(np.searchsorted(self.starts, errors, side="right")) - 1

    def level(self, stage: int) -> float:
        """Return the level of tests when the last one that passed is at this start or after it.

        And before the next start.
        """
        if stage not in self._levels:
            self._levels[stage] = _level(self.starts[stage:], self.items, self.target, self.alpha)
        return self._levels[stage]

    def counts(self, stage: int) -> Integers:
        """Return the texts of the test with k errors, k = 0, 1, 2, ..., at the level of a stage."""
        if stage not in self._counts:
            level = self.level(stage)
            self._counts[stage] = _fewest(self.items, target=self.target, level=level)
        return self._counts[stage]


@lru_cache(maxsize=256)
def plan_sequences(
    items: int, *, target: float, alpha: float, least: int = 0, last_start: float = _LAST_START
) -> SequencePlan:
    """Return the tests for ``items`` texts; without starts if too few could prove the target.

    Args:
        items: texts that may be accepted.
        target: error rate, in (0, 1).
        alpha: probability that any test passes wrongly, in (0, 1).
        least: no sequence begins with fewer texts, if there are as many.
        last_start: share of the texts at which the last sequence begins.
    """
    counts = _fewest(items, target=target, level=alpha)
    if not len(counts):
        return SequencePlan((), items, target, alpha)
    first = min(max(counts[0], least), counts[-1])
    last = max(first, counts[-1] * last_start)
    at = np.searchsorted(counts, np.geomspace(first, last, _STARTS) - 0.5)
    return SequencePlan(tuple(np.unique(at).tolist()), items, target, alpha)


def passed_tests(plan: SequencePlan, passes: Callable[[int, float], bool]) -> list[PassedTest]:
    """Return the tests that pass, in the order in which they were made.

    Args:
        plan: for the number of texts at hand.
        passes: whether the test of this many texts at this level passes.
    """
    found: list[PassedTest] = []
    front = -1  # errors of the last test that passed
    while True:
        for stage, errors in _next(plan, front):
            counts = plan.counts(stage)
            if errors >= len(counts):
                continue
            test = PassedTest(int(counts[errors]), plan.level(stage))
            if passes(test.count, test.level):
                found.append(test)
                front = errors
                break
        else:
            return found


def _next(plan: SequencePlan, front: int) -> list[tuple[int, int]]:
    """Return (stage, errors) of tests that may be made now: the next one, and later starts."""
    here = max(plan.stage(front), 0)
    later = [(here, start) for start in plan.starts if start > front]
    return later if front < 0 else [(plan.stage(front + 1), front + 1), *later]


def _level(starts: tuple[int, ...], items: int, target: float, alpha: float) -> float:
    """Return the level of each of these tests at which any passes wrongly with ``alpha``."""
    if len(starts) == 1:
        return alpha
    low, high = alpha / len(starts), alpha
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _any_passes(starts, items, target, middle) <= alpha:
            low = middle
        else:
            high = middle
    return low


def _any_passes(starts: tuple[int, ...], items: int, target: float, level: float) -> float:
    """Return the probability that any test passes, for independent errors at the target rate."""
    from scipy.special import bdtr

    alive: Floats = np.ones(1)  # by number of errors: probability, and no test passed so far
    before, passed = 0, 0.0
    for errors, count in zip(starts, _smallest(np.array(starts), target, level), strict=True):
        if count > items:
            break
        more = int(count) - before
        # eight standard deviations and some: the rest of the probability is below 1e-12
        longest = min(more, int(more * target + 8 * (more * target) ** 0.5) + 20)
        below = bdtr(np.arange(longest + 1), more, target)
        alive = np.convolve(alive, np.diff(below, prepend=0.0)).astype(np.float64)
        passed += float(alive[: errors + 1].sum())
        alive[: errors + 1] = 0.0
        before = int(count)
    return passed


def _fewest(items: int, *, target: float, level: float) -> Integers:
    """Return the fewest texts that prove the target with k = 0, 1, 2, ... errors, up to items."""
    from scipy.stats import binom

    most = int(binom.ppf(level, items, target)) if items else 0
    found = _smallest(np.arange(most + 1), target, level)
    return found[found <= items]


def _smallest(errors: Integers, target: float, level: float) -> Integers:
    """Return the fewest texts with P(at most ``errors``) <= level at the target rate, (N,)."""
    from scipy.special import bdtr

    low = errors + 1
    high = np.ceil((errors + 40 + 12 * np.sqrt(errors + 1)) / target).astype(np.int64)
    while (low < high).any():
        middle = (low + high) // 2
        enough = bdtr(errors, middle, target) <= level
        high, low = np.where(enough, middle, high), np.where(enough, low, middle + 1)
    return low
