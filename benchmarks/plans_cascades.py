"""Simulated cascades of known truth: how often the guarantee is broken, and what a text costs.

The product's own procedure (``control_cascade``) against an oracle that knows the error rate of all
pairs of thresholds, against Bonferroni over these pairs, and against one path through them.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.calibration.cascade_choices import StageChoices, route
from streamlabel.models.calibration.cascade_control import control_cascade

__all__ = ["POPULATIONS", "drawn", "proof"]

Floats = NDArray[np.float64]

_TARGET, _ALPHA = 0.05, 0.05
_LABELS = 4000
# The price of the second stage and of a review; the first one costs nothing.
_PRICE, _REVIEW = 0.02, 1.0
_GRID = np.linspace(0.70, 0.995, 25)
_FINE = np.linspace(0.60, 0.998, 120)
_POPULATION = 200_000

# The cost is that of these texts; the others break the guarantee more easily.
_MEASURED = "two models"

# Difficulty of a text -> probability that the first and that the second stage are right.
_Truth = Callable[[Floats], tuple[Floats, Floats]]
POPULATIONS: Final[Mapping[str, _Truth]] = {
    "two models": lambda hard: (1 - 0.55 * hard**0.9, 1 - 0.30 * hard**1.1),
    # whatever is accepted breaks the target: the largest share of broken guarantees
    "edge": lambda hard: (np.full(len(hard), 1 - _TARGET * 1.02),) * 2,
    # the confidences promise more than is true
    "overconfident": lambda hard: (1 - 0.9 * hard**0.9, 1 - 0.55 * hard**1.1),
}


def drawn(rng: np.random.Generator, texts: int, name: str) -> tuple[StageChoices, StageChoices]:
    """Return what two stages answer for simulated texts."""
    hard = rng.beta(1.2, 3.5, texts)
    says = POPULATIONS["two models"](hard)
    stages = []
    for right, said, price in zip(POPULATIONS[name](hard), says, (0.0, _PRICE), strict=True):
        is_wrong = rng.random(texts) >= right
        confidence = np.clip(said + rng.normal(0, 0.05, texts), 0, 1)
        everything = np.ones(texts, dtype=bool)
        answer = np.zeros(texts, dtype=np.int64)
        stages.append(StageChoices(answer, confidence, everything, is_wrong, price))
    return stages[0], stages[1]


def proof(trials: int) -> tuple[dict[str, float], str, Mapping[str, Any]]:
    """Return figures, page and rows of the simulation."""
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for name in POPULATIONS:
        rng = np.random.default_rng(5)
        big = drawn(rng, _POPULATION, name)
        oracle = _oracle(big)
        rows[name] = {
            procedure: _tried(choose, rng, big, name, oracle=oracle, trials=trials)
            for procedure, choose in _PROCEDURES.items()
            if procedure == _OURS or name == _MEASURED
        }
    measured = rows[_MEASURED]
    figures = {
        "cascade_broken_promises": max(each[_OURS]["broken"] for each in rows.values()),
        "cascade_cost_over_oracle": measured[_OURS]["over_oracle"],
        "cascade_cost_over_oracle_bonferroni": measured["Bonferroni"]["over_oracle"],
        "cascade_cost_over_oracle_path": measured["one path"]["over_oracle"],
    }
    return figures, _page(rows, trials), rows


_Stages = tuple[StageChoices, StageChoices]
_Pair = tuple[float, float] | None


def _tried(
    choose: Callable[[_Stages], _Pair],
    rng: np.random.Generator,
    big: _Stages,
    name: str,
    *,
    oracle: float,
    trials: int,
) -> dict[str, float]:
    costs, broken, nothing = [], 0, 0
    for _ in range(trials):
        pair = choose(drawn(rng, _LABELS, name))
        cost, error = _truth(big, pair)
        costs.append(cost)
        broken += error > _TARGET
        nothing += pair is None
    mean = float(np.mean(costs))
    return {
        "cost": mean,
        "over_oracle": mean / oracle,
        "broken": broken / trials,
        "nothing_accepted": nothing / trials,
    }


def _truth(big: _Stages, pair: _Pair) -> tuple[float, float]:
    """Return the cost of a text and the error rate of accepted ones; all to review without one."""
    if pair is None:
        return _REVIEW, 0.0
    routed = route(big, pair)
    accepted = int(routed.is_accepted.sum())
    wrong = int((routed.is_accepted & routed.is_wrong).sum())
    return routed.cost((0.0, _PRICE), _REVIEW), wrong / max(accepted, 1)


def _ours(stages: _Stages) -> _Pair:
    promise = control_cascade(
        stages, review_price=_REVIEW, target=_TARGET, confidence=1 - _ALPHA, with_curve=False
    )
    first, second = promise.chosen.thresholds
    return (first, second) if promise.is_kept else None


def _bonferroni(stages: _Stages) -> _Pair:
    from scipy.stats import binom

    accepted, wrong, cost = _on_grid(stages)
    passes = binom.cdf(wrong, accepted, _TARGET) <= _ALPHA / accepted.size
    passes &= accepted > 0
    if not passes.any():
        return None
    first, second = np.unravel_index(np.where(passes, cost, np.inf).argmin(), cost.shape)
    return float(_GRID[first]), float(_GRID[second])


def _path(stages: _Stages) -> _Pair:
    """Test one path from strict to loose: the first stage is always 0.02 stricter."""
    from scipy.stats import binom

    found: _Pair = None
    first = np.log(_ALPHA) / np.log(1 - _TARGET) + 1
    for limit in _FINE[::-1]:
        pair = (min(float(limit) + 0.02, 0.9999), float(limit))
        routed = route(stages, pair)
        accepted = int(routed.is_accepted.sum())
        if accepted < first:
            continue
        wrong = int((routed.is_accepted & routed.is_wrong).sum())
        if binom.cdf(wrong, accepted, _TARGET) <= _ALPHA:
            found = pair
        elif found is not None or accepted > 400:  # several starts without a price, as measured
            break
    return found


def _oracle(big: _Stages) -> float:
    accepted, wrong, cost = _on_grid(big)
    holds = wrong / np.maximum(accepted, 1) <= _TARGET
    return float(np.where(holds & (accepted > 0), cost, np.inf).min(initial=_REVIEW))


def _on_grid(stages: _Stages) -> tuple[Floats, Floats, Floats]:
    """Return accepted and wrong texts, and the cost of a text, for all pairs of thresholds."""
    first, second = stages
    by_first = first.confidence[:, None] >= _GRID
    by_second = second.confidence[:, None] >= _GRID
    passed_on = (~by_first).astype(np.float32)
    accepted = by_first.sum(0)[:, None] + passed_on.T @ by_second.astype(np.float32)
    wrong = (by_first & first.is_wrong[:, None]).sum(0)[:, None] + passed_on.T @ (
        by_second & second.is_wrong[:, None]
    ).astype(np.float32)
    texts = len(first.confidence)
    cost = _PRICE * passed_on.mean(0)[:, None] + _REVIEW * (1 - accepted / texts)
    return accepted.astype(float), wrong.astype(float), cost.astype(float)


_OURS = "streamlabel calibrate"
_PROCEDURES: Final[Mapping[str, Callable[[_Stages], _Pair]]] = {
    _OURS: _ours,
    "one path": _path,
    "Bonferroni": _bonferroni,
}


def _page(rows: Mapping[str, Mapping[str, Mapping[str, float]]], trials: int) -> str:
    lines = [
        "## One guarantee for two stages",
        "",
        f"{trials} simulated calibrations each: {_LABELS:,} labels, target {_TARGET:.0%},"
        f" confidence {1 - _ALPHA:.0%}; a text costs {_PRICE:g} in the second stage and {_REVIEW:g}"
        " in review. The oracle knows the error rate of every pair of thresholds. Broken: the error"
        " of what both stages accept is above the target; at most 5 % are allowed.",
        "",
        "| texts | procedure | cost of a text | over the oracle | nothing accepted | broken |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {name} | {procedure} | {row['cost']:.3f} |"
        f" {_ratio(row) if name == _MEASURED else '-'} |"
        f" {row['nothing_accepted']:.1%} | {row['broken']:.1%} |"
        for name, found in rows.items()
        for procedure, row in found.items()
    ]
    return "\n".join([*lines, ""])


def _ratio(row: Mapping[str, float]) -> str:
    return f"{row['over_oracle']:.2f}"
