"""Prediction sets for reviewers: lists that contain the correct label at a given rate."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["fit_limits", "prediction_set"]

# A group of labels with fewer examples than this is enlarged by the next rarest label.
_LEAST_PER_GROUP = 50


def fit_limits(
    probabilities: NDArray[np.float64], truth: NDArray[np.int64], *, miss_rate: float
) -> tuple[float, ...]:
    """Return for each label (K,) the largest 1 - probability at which it is still on the list.

    Args:
        probabilities: shape (N, K), calibrated, of texts like those that the list is shown for: a
            list that is fitted to all texts misses more among the uncertain ones.
        truth: shape (N,), index of the right label.
        miss_rate: share of texts whose right label may be missing from the list, in (0, 1).

    The rate holds for each label that has enough examples, and for the rare ones together; so it
    holds over all of them, too. With too few examples no label is ever left out (limit 1).

    Source: split conformal prediction, class-conditional (Mondrian), Vovk et al. 2005.
    """
    strangeness = 1 - probabilities[np.arange(len(truth)), truth]
    limits = np.ones(probabilities.shape[1])
    for group in _groups(np.bincount(truth, minlength=probabilities.shape[1])):
        limits[group] = _quantile(strangeness[np.isin(truth, group)], miss_rate)
    return tuple(limits.tolist())


def _groups(counts: NDArray[np.int64]) -> list[list[int]]:
    """Return groups of labels with enough examples each: frequent ones alone, rare ones pooled.

    A limit of all labels together would be that of the frequent ones, and would leave the rare ones
    out more often than stated.
    """
    groups: list[list[int]] = []
    pool: list[int] = []
    for label in sorted(range(len(counts)), key=lambda label: int(counts[label])):
        pool.append(label)
        if counts[pool].sum() >= _LEAST_PER_GROUP:
            groups.append(pool)
            pool = []
    if pool and groups:
        groups[-1] += pool
    return groups or [pool]


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
