"""Procedures that choose a threshold for a target error: coverage, and how often they break it.

On simulated data with known truth. Coverage is that of an oracle, which knows the error rate of
every threshold, made 1. The product's procedure is the one named ``rising``.
"""

import argparse
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from benchmarks import results_file
from streamlabel.models.calibration.binomial_bounds import labels_needed
from streamlabel.models.calibration.risk_control import control_risk
from streamlabel.models.calibration.sequence_plan import SequencePlan, passed_tests, plan_sequences
from streamlabel.models.calibration.thresholds import Choices

__all__ = [
    "PROCEDURES",
    "SHAPES",
    "Best",
    "Coverage",
    "best_possible",
    "broken_at_target",
    "measure",
    "promise_figures",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_TARGET, _ALPHA = 0.02, 0.05
_SIZES = (1250, 5000)
_POPULATION = 400_000

# How wrong answers depend on confidence. At "edge" the error rate is just above the target at every
# confidence: whatever is accepted breaks it, so that its share of broken targets is the largest.
SHAPES: Mapping[str, Callable[[Floats], Floats]] = {
    "calibrated": lambda sure: 1 - sure,
    "overconfident": lambda sure: np.minimum(0.9, 2.5 * (1 - sure)),
    "label noise": lambda sure: 0.008 + 0.6 * (1 - sure),
    "edge": lambda sure: np.full(len(sure), _TARGET * 1.001),
}


@dataclass(frozen=True, slots=True)
class Coverage:
    """A procedure over many trials.

    Attributes:
        mean: coverage, that of the oracle is 1.
        tenth: its 10th percentile.
        broken: share of trials in which the error rate of accepted texts is above the target.
    """

    mean: float
    tenth: float
    broken: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _OneLevel(SequencePlan):
    """All tests at one level, whatever has passed.

    Attributes:
        fewest: texts of the test with k errors, k = 0, 1, 2, ...
    """

    fewest: NDArray[np.int64]

    def level(self, stage: int) -> float:
        del stage
        return self.alpha

    def counts(self, stage: int) -> NDArray[np.int64]:
        del stage
        return self.fewest


def _one_level(starts: tuple[int, ...], level: float, fewest: NDArray[np.int64]) -> SequencePlan:
    return _OneLevel(
        starts=starts, items=int(fewest[-1]), target=_TARGET, alpha=level, fewest=fewest
    )


def _run(plan: SequencePlan, wrong: NDArray[np.int64]) -> int:
    found = passed_tests(plan, lambda n, level: bool(bdtr(wrong[n - 1], n, _TARGET) <= level))
    return found[-1].count if found else 0


def _rising(items: int) -> SequencePlan:
    return plan_sequences(items, target=_TARGET, alpha=_ALPHA)


@lru_cache
def _one_start(items: int) -> SequencePlan:
    plan = _rising(items)
    return _one_level((0,), _ALPHA, plan.counts(len(plan.starts) - 1))


@lru_cache
def _joint(items: int) -> SequencePlan:
    """All starts at the level that rising tests begin with."""
    plan = _rising(items)
    return _one_level(plan.starts, plan.level(0), plan.counts(0))


@lru_cache
def _bonferroni(items: int, *, starts: int) -> SequencePlan:
    level = _ALPHA / starts
    rising = _rising(items)
    most = len(rising.counts(len(rising.starts) - 1))
    counts = [labels_needed(_TARGET, confidence=1 - level, errors=k) for k in range(most)]
    inside = np.array([count for count in counts if count <= items])
    at = np.geomspace(inside[0], max(inside[0], 0.6 * inside[-1]), starts) - 0.5
    chosen = tuple(np.unique(np.searchsorted(inside, at)).tolist())
    return _one_level(chosen, level, inside)


def _few_levels(wrong: NDArray[np.int64], *, levels: int) -> int:
    """Test a few thresholds, each at an equal share of the level; the loosest that passes."""
    level = _ALPHA / levels
    first = labels_needed(_TARGET, confidence=1 - level)
    tested = np.round(np.geomspace(first, len(wrong), levels)).astype(int)
    passed = tested[bdtr(wrong[tested - 1], tested, _TARGET) <= level]
    return int(passed[-1]) if len(passed) else 0


def _until_2026_11(wrong: NDArray[np.int64]) -> int:
    """Return the procedure that was replaced: three starts, steps of 4 %, equal shares."""
    items, starts = len(wrong), 1
    while starts < 3 and items >= 4 * labels_needed(_TARGET, confidence=1 - _ALPHA / (starts + 1)):
        starts += 1
    level = _ALPHA / starts
    first = labels_needed(_TARGET, confidence=1 - level)
    steps = max(2, int(np.log(items / first) / np.log(1.04)) + 1)
    tested = np.unique(np.round(np.geomspace(first, items, steps)).astype(int))
    passes = bdtr(wrong[tested - 1], tested, _TARGET) <= level
    last = -1
    for i in range(starts):
        start = int(np.searchsorted(tested, first + (items - first) * i // starts))
        failed = np.flatnonzero(~passes[start:])
        end = start + int(failed[0]) if len(failed) else len(passes)
        last = max(last, end - 1 if end > start else -1)
    return int(tested[last]) if last >= 0 else 0


# Each returns how many of the most confident texts are accepted, given the number of errors among
# the first n of them.
PROCEDURES: Mapping[str, Callable[[NDArray[np.int64]], int]] = {
    "fixed sequence, one start": lambda wrong: _run(_one_start(len(wrong)), wrong),
    "three starts, steps of 4 % (until November 2026)": _until_2026_11,
    "three starts, equal shares": lambda wrong: _run(_bonferroni(len(wrong), starts=3), wrong),
    "six starts, equal shares": lambda wrong: _run(_bonferroni(len(wrong), starts=6), wrong),
    "eight levels, equal shares": partial(_few_levels, levels=8),
    "six starts, joint level": lambda wrong: _run(_joint(len(wrong)), wrong),
    "six starts, rising level": lambda wrong: _run(_rising(len(wrong)), wrong),
}
_CHOSEN = "six starts, rising level"
_BY_LABEL = "the same as calibrate does, by label"


def measure(
    shape: str, *, items: int, trials: int, only: Collection[str] = ()
) -> dict[str, Coverage]:
    """Return the results of every procedure, or of some, on simulated texts of a shape."""
    population, risks, truth = _population(shape)
    allowed = np.flatnonzero(risks <= _TARGET)
    oracle = (allowed[-1] + 1) / len(risks) if len(allowed) else 0.0
    shares: dict[str, list[float]] = {name: [] for name in only or (*PROCEDURES, _BY_LABEL)}
    broken = dict.fromkeys(shares, 0)
    rng = np.random.default_rng(1)
    ranked = np.sort(population.confidence)
    for _ in range(trials):
        sample, _ = _drawn(rng, items, shape)
        order = np.argsort(-sample.confidence)
        wrong = np.cumsum(sample.is_wrong[order], dtype=np.int64)
        for name in shares.keys() & PROCEDURES.keys():
            count = PROCEDURES[name](wrong)
            share = 0.0
            if count:
                least = sample.confidence[order][count - 1]
                share = 1 - float(np.searchsorted(ranked, least)) / len(ranked)
                broken[name] += bool(risks[max(0, int(share * len(risks)) - 1)] > _TARGET)
            shares[name].append(share)
        if _BY_LABEL not in shares:
            continue
        taken = population.accepted(control_risk(sample, target=_TARGET).thresholds)
        shares[_BY_LABEL].append(float(taken.mean()))
        broken[_BY_LABEL] += bool(taken.any() and truth[taken].mean() > _TARGET)
    return {
        name: Coverage(
            float(np.mean(found)) / oracle if oracle else 0.0,
            float(np.quantile(found, 0.1)) / oracle if oracle else 0.0,
            broken[name] / trials,
        )
        for name, found in shares.items()
    }


@lru_cache
def _population(shape: str) -> tuple[Choices, Floats, Floats]:
    population, truth = _drawn(np.random.default_rng(10_000), _POPULATION, shape)
    order = np.argsort(-population.confidence)
    return population, np.cumsum(truth[order]) / np.arange(1, _POPULATION + 1), truth


def _drawn(rng: np.random.Generator, items: int, shape: str) -> tuple[Choices, Floats]:
    label = rng.choice(3, size=items, p=[0.75, 0.17, 0.08])
    confidence = 1 - 0.6 * rng.beta(0.5, np.array([12.0, 6.0, 3.0])[label])
    truth = SHAPES[shape](confidence)
    is_wrong = rng.random(items) < truth
    is_open = np.ones(items, dtype=bool)
    return Choices(label, confidence, is_wrong, is_open, ("a", "b", "c")), truth


@dataclass(frozen=True, slots=True)
class Best:
    """Bounds of what any procedure that holds the target can reach.

    Attributes:
        mean: of the mean coverage.
        tenth: of its 10th percentile.
    """

    mean: float
    tenth: float


def best_possible(shape: str, *, items: int, trials: int = 4000) -> Best:
    """Return the largest coverage that any procedure can have which holds the target.

    To accept the share s of the texts or more is wrong if the error rate is above the target from s
    on. A procedure that holds the target does so with a probability of at most 5 % for any such
    error rates, and thus with the real ones at most with the power of the most powerful test of the
    real error rates against those. They are chosen close to the real ones: up to s odds of an error
    that are higher by one factor, so that the mean is at the target, and from there on at least the
    target. Texts have the confidences that are expected of a sample.

    Source: the most powerful test of two simple hypotheses, Neyman & Pearson 1933.
    """
    rng = np.random.default_rng(3)
    population, risks, truth = _population(shape)
    ranked = truth[np.argsort(-population.confidence)]
    oracle = (np.flatnonzero(risks <= _TARGET)[-1] + 1) / len(risks)
    real = ranked[((np.arange(items) + 0.5) / items * len(ranked)).astype(int)]
    parts = np.concatenate([[0.02], np.arange(0.1, 1.0, 0.05)])  # of what the oracle accepts
    powers = []
    for part in parts:
        accepted = max(1, round(part * oracle * items))
        other = np.maximum(real, _TARGET)
        other[:accepted] = _with_mean(real[:accepted], _TARGET)
        gain = np.log(real / other) - np.log((1 - real) / (1 - other))  # of a wrong text
        drawn = [
            np.concatenate([(rng.random((500, items)) < rate) @ gain for _ in range(trials // 500)])
            for rate in (other, real)
        ]
        powers.append(float((drawn[1] >= np.quantile(drawn[0], 1 - _ALPHA)).mean()))
    # to accept more is never more probable
    powers = np.minimum.accumulate(powers).tolist()
    ends = np.concatenate([[0.0], parts, [1.0]])
    mean = float((np.diff(ends) * [powers[0], *powers]).sum()) + _ALPHA * (1 - oracle) / oracle
    sure = [float(end) for end, power in zip(ends[2:], powers, strict=True) if power >= 0.9]
    return Best(mean, max(sure, default=0.0))


def _with_mean(rates: Floats, mean: float) -> Floats:
    """Return rates with their odds multiplied so that they have a mean, if theirs is lower."""
    if rates.mean() >= mean:
        return rates
    odds = rates / (1 - rates)
    low, high = 0.0, 12.0
    for _ in range(40):
        middle = (low + high) / 2
        raised = odds * np.exp(middle)
        if (raised / (1 + raised)).mean() < mean:
            low = middle
        else:
            high = middle
    raised = odds * np.exp(high)
    return np.asarray(raised / (1 + raised))


def broken_at_target(items: int) -> float:
    """Return the probability that the product's procedure accepts anything at the edge, exactly.

    Errors are independent, at the target rate: with every one text more, or one start passed. A
    simulation of what is just below 5 % finds more than that in nearly half of its runs.
    """
    plan = _rising(items)
    fewest = plan.counts(0)
    tests = {int(fewest[k]): k for k in plan.starts if k < len(fewest)}
    errors, passed = np.zeros(items + 1), 0.0  # probability of each number, and no test passed
    errors[0] = 1.0
    for count in range(1, items + 1):
        errors[1:] = errors[1:] * (1 - _TARGET) + errors[:-1] * _TARGET
        errors[0] *= 1 - _TARGET
        if count in tests:
            passed += float(errors[: tests[count] + 1].sum())
            errors[: tests[count] + 1] = 0.0
    return passed


def promise_figures(trials: int) -> dict[str, float]:
    """Return the figures of the product's procedure: coverage, and the share that is broken."""
    found = {
        (n, s): measure(s, items=n, trials=trials, only=[_CHOSEN]) for n in _SIZES for s in SHAPES
    }
    figures = _figures(found)
    return {k: v for k, v in figures.items() if k != "broken"} | {
        "promise_broken": figures["broken"]
    }


def _figures(found: Mapping[tuple[int, str], Mapping[str, Coverage]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for items in _SIZES:
        rows = [found[items, shape][_CHOSEN] for shape in SHAPES if shape != "edge"]
        figures[f"promise_coverage_{items}_mean"] = min(row.mean for row in rows)
        figures[f"promise_coverage_{items}_p10"] = min(row.tenth for row in rows)
    simulated = [rows[_CHOSEN].broken for (_, shape), rows in found.items() if shape != "edge"]
    figures["broken"] = max(*simulated, *(broken_at_target(items) for items in _SIZES))
    return figures


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    trials = parser.parse_args().trials
    found = {(n, s): measure(s, items=n, trials=trials) for n in _SIZES for s in SHAPES}
    best = {(n, s): best_possible(s, items=n) for n in _SIZES for s in SHAPES if s != "edge"}
    figures = _figures(found) | {
        f"best_possible_{n}_{key}": min(getattr(b, key) for (m, _), b in best.items() if m == n)
        for n in _SIZES
        for key in ("mean", "tenth")
    }
    results_file.write(
        "procedures",
        command=f"python -m benchmarks.procedures --trials {trials}",
        figures=figures,
        page=_page(found, best, trials),
        details={f"{n}, {s}": {k: asdict(v) for k, v in r.items()} for (n, s), r in found.items()},
        libraries=("numpy", "scipy"),
    )


def _page(
    found: Mapping[tuple[int, str], Mapping[str, Coverage]],
    best: Mapping[tuple[int, str], Best],
    trials: int,
) -> str:
    lines = [
        f"Target error {_TARGET:.0%}, confidence {1 - _ALPHA:.0%}, {trials} simulated calibrations"
        " each. Coverage: mean / 10th percentile, that of an oracle is 1. Broken: share of"
        " calibrations above the target, the worst of the shapes; at most 5 % are allowed. Where"
        " the error rate is just above the target everywhere, the product's procedure breaks it"
        " with a probability of "
        + " and ".join(f"{broken_at_target(n):.2%} ({n:,} labels)" for n in _SIZES)
        + ", computed. No procedure that holds the target reaches more than the last row of each"
        " table (bound, by the most powerful test).",
    ]
    shapes = [shape for shape in SHAPES if shape != "edge"]
    for items in _SIZES:
        lines += ["", f"## {items:,} labels", ""]
        lines += [f"| procedure | {' | '.join(shapes)} | broken |"]
        lines += ["| --- |" + " ---: |" * (len(shapes) + 1)]
        for name in found[items, "edge"]:
            rows = [found[items, shape][name] for shape in shapes]
            cells = " | ".join(f"{row.mean:.3f} / {row.tenth:.3f}" for row in rows)
            worst = max(found[items, shape][name].broken for shape in SHAPES)
            lines.append(f"| {name} | {cells} | {worst:.1%} |")
        bounds = (best[items, shape] for shape in shapes)
        cells = " | ".join(f"{each.mean:.3f} / {each.tenth:.3f}" for each in bounds)
        lines.append(f"| bound for every procedure | {cells} | |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
