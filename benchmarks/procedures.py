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

__all__ = ["PROCEDURES", "SHAPES", "Coverage", "measure", "promise_figures"]

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


def _run(plan: SequencePlan, wrong: NDArray[np.int64]) -> int:
    found = passed_tests(plan, lambda n, level: bool(bdtr(wrong[n - 1], n, _TARGET) <= level))
    return found[-1].count if found else 0


def _rising(items: int) -> SequencePlan:
    return plan_sequences(items, target=_TARGET, alpha=_ALPHA)


@lru_cache
def _one_start(items: int) -> SequencePlan:
    return SequencePlan((0,), (_ALPHA,), (_rising(items).counts[-1],))


@lru_cache
def _joint(items: int) -> SequencePlan:
    """All starts at the level that rising tests begin with."""
    plan = _rising(items)
    several = len(plan.starts)
    return SequencePlan(plan.starts, plan.levels[:1] * several, plan.counts[:1] * several)


@lru_cache
def _bonferroni(items: int, *, starts: int) -> SequencePlan:
    level = _ALPHA / starts
    most = len(_rising(items).counts[-1])
    counts = [labels_needed(_TARGET, confidence=1 - level, errors=k) for k in range(most)]
    inside = np.array([count for count in counts if count <= items])
    at = np.geomspace(inside[0], max(inside[0], 0.6 * inside[-1]), starts) - 0.5
    chosen = tuple(np.unique(np.searchsorted(inside, at)).tolist())
    return SequencePlan(chosen, (level,) * len(chosen), (inside,) * len(chosen))


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
    figures["broken"] = max(rows[_CHOSEN].broken for rows in found.values())
    return figures


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    trials = parser.parse_args().trials
    found = {(n, s): measure(s, items=n, trials=trials) for n in _SIZES for s in SHAPES}
    figures = _figures(found)
    results_file.write(
        "procedures",
        command=f"python -m benchmarks.procedures --trials {trials}",
        figures=figures,
        page=_page(found, trials),
        details={f"{n}, {s}": {k: asdict(v) for k, v in r.items()} for (n, s), r in found.items()},
        libraries=("numpy", "scipy"),
    )


def _page(found: Mapping[tuple[int, str], Mapping[str, Coverage]], trials: int) -> str:
    lines = [
        f"Target error {_TARGET:.0%}, confidence {1 - _ALPHA:.0%}, {trials} simulated calibrations"
        " each. Coverage: mean / 10th percentile, that of an oracle is 1. Broken: share of"
        " calibrations above the target, the worst of the shapes; at most 5 % are allowed.",
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
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
