"""Prediction sets for reviewers: lists that contain the correct label at a given rate."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["fit_limits", "prediction_set"]

# A label with fewer examples than this gets the limit that is fitted to all labels together.
_LEAST_PER_CLASS = 50


def fit_limits(
    probabilities: NDArray[np.float64], truth: NDArray[np.int64], *, miss_rate: float
) -> tuple[float, ...]:
    """Return for each label (K,) the largest 1 - probability at which it is still on the list.

    Args:
        probabilities: shape (N, K), calibrated.
        truth: shape (N,), index of the right label.
        miss_rate: share of texts whose right label may be missing from the list, in (0, 1).

    The rate holds for each label that has enough examples, otherwise over all texts.

    Source: split conformal prediction, class-conditional (Mondrian), Vovk et al. 2005.
    """
    strangeness = 1 - probabilities[np.arange(len(truth)), truth]
    overall = _quantile(strangeness, miss_rate)
    limits = []
    for label in range(probabilities.shape[1]):
        own = strangeness[truth == label]
        limits.append(_quantile(own, miss_rate) if len(own) >= _LEAST_PER_CLASS else overall)
    return tuple(limits)


def prediction_set(probabilities: Sequence[float], limits: Sequence[float]) -> tuple[int, ...]:
    """Return the labels on the list, most probable first; never empty.

    Args:
        probabilities: shape (K,), calibrated.
        limits: shape (K,), as fitted.
    """
    order = sorted(range(len(probabilities)), key=lambda label: -probabilities[label])
    listed = [label for label in order if 1 - probabilities[label] <= limits[label]]
    return tuple(listed or order[:1])


def _quantile(strangeness: NDArray[np.float64], miss_rate: float) -> float:
    rank = math.ceil((len(strangeness) + 1) * (1 - miss_rate))
    if rank > len(strangeness):
        return 1.0  # too few examples to leave any label out
    return float(np.partition(strangeness, rank - 1)[rank - 1])
