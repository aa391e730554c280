"""Krippendorff's alpha of labels, with a bootstrap interval over items."""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from streamlabel.console.store.items import VerdictRow

__all__ = ["Agreement", "agreement_by_label", "ratings_of"]

_SAMPLES: Final = 1000
_LEVEL: Final = 0.95
_SEED: Final = 20261129  # the page shows the same interval for the same verdicts
# With fewer items decided by two people an interval is too wide to say anything.
MIN_ITEMS: Final = 10


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far reviewers agree about one label.

    Attributes:
        label: that was given or not; None: all labels together.
        alpha: 1: always; 0: as by chance; below: less than by chance. None: too few items, or
            all verdicts are equal.
        low: of the 95 % interval; None without alpha.
        high: likewise.
        items: decided by two people or more.
    """

    label: str | None
    alpha: float | None
    low: float | None
    high: float | None
    items: int


def ratings_of(
    rows: Sequence[VerdictRow],
) -> Mapping[Hashable, Sequence[tuple[str, frozenset[str]]]]:
    """Return (reviewer, labels) by record, for records that two reviewers or more decided.

    Gold items are left out: they are one text many times. So are appeals, which nobody drew at
    random. Of each reviewer the last verdict counts.
    """
    found: dict[Hashable, dict[str, frozenset[str]]] = defaultdict(dict)
    for row in rows:
        if row.labels is not None and row.purpose not in {"gold", "appeal"}:
            found[row.task, row.record_id][row.reviewer] = frozenset(row.labels)
    return {key: list(given.items()) for key, given in found.items() if len(given) > 1}


def agreement_by_label(rows: Sequence[VerdictRow]) -> list[Agreement]:
    """Return the agreement about all labels together, then about each label, by name."""
    units = [[labels for _, labels in given] for given in ratings_of(rows).values()]
    labels = sorted({label for unit in units for given in unit for label in given})
    whole = _agreement(None, [[tuple(sorted(given)) for given in unit] for unit in units])
    return [whole] + [
        _agreement(label, [[label in given for given in unit] for unit in units])
        for label in labels
    ]


def _alpha(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return alpha for each row of weights; NaN where all values are equal.

    Args:
        counts: shape (items, values).
        weights: shape (samples, items): how often each item is in the sample.

    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011, section D.
    """
    raters = counts.sum(axis=1)  # (items,)
    pairs = (counts * (counts - 1)).sum(axis=1) / (raters - 1)  # agreeing pairs, (items,)
    observed = weights @ (raters - pairs)  # disagreement, (samples,)
    totals = weights @ counts  # (samples, values)
    number = totals.sum(axis=1)  # (samples,)
    expected = (number**2 - (totals**2).sum(axis=1)) / (number - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 0, 1 - observed / expected, np.nan)


def _agreement(label: str | None, units: Sequence[Sequence[Hashable]]) -> Agreement:
    if len(units) < MIN_ITEMS:
        return Agreement(label, None, None, None, len(units))
    values = {value: i for i, value in enumerate(dict.fromkeys(v for unit in units for v in unit))}
    counts = np.zeros((len(units), len(values)))
    for row, unit in zip(counts, units, strict=True):
        for value in unit:
            row[values[value]] += 1
    alpha = float(_alpha(counts, np.ones((1, len(units))))[0])
    if np.isnan(alpha):
        return Agreement(label, None, None, None, len(units))
    random = np.random.default_rng(_SEED)
    # items with the same ratings are drawn together, so the time does not grow with the items
    kinds, often = np.unique(counts, axis=0, return_counts=True)
    weights = random.multinomial(len(units), often / len(units), size=_SAMPLES)
    samples = _alpha(kinds, weights.astype(float))
    # a sample whose values are all equal has no disagreement
    samples = np.where(np.isnan(samples), 1.0, samples)
    low, high = np.quantile(samples, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Agreement(label, alpha, float(low), float(high), len(units))
