"""Calibration error of confidences, and the error that chance alone would produce.

Even a perfectly calibrated model has an error above 0 on a finite sample, and the smaller the
sample, the larger the error (0.04 at 300 texts). So the error is compared with that of a simulated,
perfectly calibrated model.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bin", "CalibrationError", "calibration_error"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_MOST_BINS = 15
# A bin with fewer texts has no statistical value.
_LEAST_ITEMS = 20
_DRAWS = 500


@dataclass(frozen=True, slots=True)
class Bin:
    """Texts of similar confidence."""

    items: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class CalibrationError:
    """Mean distance of accuracy from confidence, over bins of equal numbers of texts.

    Attributes:
        value: in [0, 1].
        low: lower end of its 95 % bootstrap interval.
        high: upper end.
        by_chance: mean error of a perfectly calibrated model with the same confidences.
        bins: from the least to the most confident.
    """

    value: float
    low: float
    high: float
    by_chance: float
    bins: tuple[Bin, ...]

    @property
    def excess(self) -> float:
        """The error above chance; may be slightly negative."""
        return self.value - self.by_chance


def calibration_error(confidence: Floats, is_right: Bools, *, seed: int = 0) -> CalibrationError:
    """Return the error of confidences (N,) against outcomes (N,).

    Source: adaptive binning as in Nguyen & O'Connor 2015; the simulated level as in Vaicenavicius
    et al. 2019.
    """
    rng = np.random.default_rng(seed)
    items = len(confidence)
    count = min(_MOST_BINS, max(1, items // _LEAST_ITEMS))
    edges = np.linspace(0, items, count + 1).astype(int)[:-1]
    order = np.argsort(confidence, kind="stable")
    ranked, right = confidence[order], is_right[order]
    sizes = np.diff(np.append(edges, items))
    sure = np.add.reduceat(ranked, edges) / sizes
    hits = np.add.reduceat(right.astype(float), edges) / sizes
    value = float((np.abs(sure - hits) * sizes).sum() / items)
    by_chance, resampled = [], []
    for _ in range(_DRAWS):
        drawn = (rng.random(items) < ranked).astype(float)
        by_chance.append(np.abs(np.add.reduceat(drawn - ranked, edges)).sum() / items)
        again = np.sort(rng.integers(items, size=items))  # sorted by confidence, too
        gap = right[again] - ranked[again]
        resampled.append(np.abs(np.add.reduceat(gap, edges)).sum() / items)
    low, high = np.quantile(resampled, [0.025, 0.975])
    bins = zip(sizes.tolist(), sure.tolist(), hits.tolist(), strict=True)
    return CalibrationError(
        value, float(low), float(high), float(np.mean(by_chance)), tuple(Bin(*b) for b in bins)
    )
