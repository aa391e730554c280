"""From logits to probabilities: softmax, sigmoid, and pooling over the windows of a text."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.core.labels import ProblemType

__all__ = ["Pool", "pool_windows", "probabilities", "sigmoid", "softmax", "softmax_of_one"]

Floats = NDArray[np.floating[Any]]
Pool = Literal["mean", "max"]


def softmax(logits: Floats) -> NDArray[np.float64]:
    """Return the softmax over the last axis, in float64, so that every row sums to 1.

    The maximum is subtracted first: exp overflows at 710, and subtracting anything else (the
    largest magnitude, say) makes NaN of logits like (-1000, 2).
    """
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=-1, keepdims=True)
    return shifted


def softmax_of_one(scores: Sequence[float]) -> tuple[float, ...]:
    """Return the softmax of one text's scores, (K,), for use once per record.

    Plain Python: for the handful of labels of a task that is cheaper than an array. The two forms
    may differ in the last bits, as numpy has an ``exp`` and an order of summation of its own.
    """
    top = max(scores)  # see softmax
    powers = [math.exp(score - top) for score in scores]
    total = math.fsum(powers)
    return tuple(power / total for power in powers)


def sigmoid(logits: Floats) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-x)) per entry, in float64, without overflow at either end."""
    small = np.exp(-np.abs(logits.astype(np.float64)))  # in (0, 1]: exp never overflows
    # NaN compares false and stays NaN through ``small``.
    return np.asarray(np.where(logits >= 0, 1.0, small) / (1.0 + small), dtype=np.float64)


def probabilities(logits: Floats, problem_type: ProblemType) -> NDArray[np.float64]:
    """Return the probabilities of logits (N, K): rows sum to 1, or each entry on its own."""
    return softmax(logits) if problem_type == "single_label" else sigmoid(logits)


def pool_windows(logits: Floats, pool: Pool) -> NDArray[np.float64]:
    """Return one logit per label, (K,), from the logits (W, K) of a text's windows.

    ``mean`` averages over the text; ``max`` takes each label's largest logit in any window, which
    suits moderation: one offending paragraph is enough.
    """
    wide = logits.astype(np.float64)
    return np.asarray(wide.mean(axis=0) if pool == "mean" else wide.max(axis=0))
