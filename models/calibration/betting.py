"""Bounds on a mean that hold at all times together, however often one looks at them: by betting.

Someone bets that the mean is below a value m, with a fraction of the capital that depends on the
past alone. If the mean is m or more, the capital is a supermartingale: it ever reaches 20 times its
start with a probability of 5 % at most (Ville's inequality). So every m for which it did is ruled
out, and the smallest of these bounds the mean from above.

Source: Waudby-Smith and Ramdas 2024, Estimating means of bounded random variables by betting,
Journal of the Royal Statistical Society B 86(1); the bet is their aGRAPA.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["running_lower_bounds", "running_upper_bounds"]

Doubles = NDArray[np.float64]

# Values of the mean that are tested; the bound is one of them. The range has to contain 0.
_GRID: Final = 801
# Of the largest bet that can never lose all.
_MOST: Final = 0.75
# Rows computed at once: about 25 MB for each array.
_CHUNK: Final = 4096


def running_upper_bounds(
    values: Sequence[float],
    weights: Sequence[float] | None = None,
    *,
    lowest: float,
    highest: float,
    confidence: float,
) -> Doubles:
    """Return the upper bound of the mean after each value, shape (N,); it never rises.

    All N bounds hold together with this confidence, for independent values of the same
    distribution, in the order in which they came.

    Args:
        values: in [lowest, highest].
        weights: > 0: how much each value counts, for example the inverse of the probability with
            which it was drawn; the bound is then that of the weighted mean. None: all alike.
        lowest: smallest possible value, at most 0.
        highest: largest possible value, at least 0 and above ``lowest``.
        confidence: in (0, 1).
    """
    x = np.asarray(values, dtype=np.float64)  # (N,)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    if len(x) == 0:
        return np.empty(0)
    w = w / w.max()
    means = _means(lowest, highest)  # (G,)
    most = _MOST / np.maximum(highest - means, (highest - lowest) / _GRID)  # (G,)
    # Sums over the past: of w, wx, w^2, w^2 x, w^2 x^2; a value of full variance precedes.
    columns = np.stack([w, w * x, w * w, w * w * x, w * w * x * x])  # (5, N)
    past = np.cumsum(columns, axis=1) - columns
    needed = -np.log1p(-confidence)
    capital = np.zeros(_GRID)  # logarithms
    best = np.zeros(_GRID)
    bounds = np.empty(len(x))
    for start in range(0, len(x), _CHUNK):
        part = slice(start, start + _CHUNK)
        s, sx, ss, ssx, ssxx = (column[part, None] for column in past)  # (C, 1)
        gain = means * s - sx  # (C, G): how far the past is below each mean
        square = ssxx - 2 * means * ssx + means * means * ss + (highest - lowest) ** 2 / 4
        bet = np.clip(gain / square, 0, most)
        steps = np.log1p(-bet * w[part, None] * (x[part, None] - means))
        path = capital + np.cumsum(steps, axis=0)
        capital = path[-1]
        reached = np.maximum(best, np.maximum.accumulate(path, axis=0))
        best = reached[-1]
        bounds[part] = _bound(reached >= needed, means)
    return bounds


def running_lower_bounds(
    values: Sequence[float],
    weights: Sequence[float] | None = None,
    *,
    lowest: float,
    highest: float,
    confidence: float,
) -> Doubles:
    """Return the lower bound of the mean after each value; see ``running_upper_bounds``."""
    mirrored = [-value for value in values]
    return -running_upper_bounds(
        mirrored, weights, lowest=-highest, highest=-lowest, confidence=confidence
    )


def _means(lowest: float, highest: float) -> Doubles:
    """Return the tested values, ascending; close to each other around 0: 0.0005 apart at 0.01."""
    places = np.linspace(-1.0 if lowest < 0 else 0.0, 1.0 if highest > 0 else 0.0, _GRID)
    return np.where(places < 0, lowest, highest) * places * places


def _bound(ruled_out: NDArray[np.bool_], means: Doubles) -> Doubles:
    """Return the smallest mean (C,) above which all are ruled out; the largest if none is."""
    kept = ~ruled_out
    last = means.size - 1 - np.argmax(kept[:, ::-1], axis=1)  # the largest that is not ruled out
    above = np.minimum(last + 1, means.size - 1)
    return np.asarray(np.where(kept.any(axis=1), means[above], means[0]))
