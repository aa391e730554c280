"""Weights of records that came to review with unequal probability, and samples without weights.

Sources: Horvitz & Thompson 1952; effective sample size, Kish 1965.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Weights", "inverse_weights", "thinned"]

_HASHES = 2.0**64


@dataclass(frozen=True, slots=True)
class Weights:
    """Inverse probabilities.

    Attributes:
        values: shape (N,).
        effective: number of records of equal weight that would determine a mean as well.
        clipped: number of records whose weight was cut to the largest one allowed.
    """

    values: NDArray[np.float64]
    effective: float
    clipped: int


def inverse_weights(probabilities: NDArray[np.float64], *, most: float) -> Weights:
    """Return the weights of records.

    Args:
        probabilities: shape (N,), of coming to review, in (0, 1].
        most: largest weight: a few records of very low probability would determine everything.
    """
    values = 1 / probabilities
    clipped = int((values > most).sum())
    values = np.minimum(values, most)
    squares = float((values**2).sum())
    return Weights(values, float(values.sum()) ** 2 / squares if squares else 0.0, clipped)


def thinned(names: Sequence[str], probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which records (N,) are kept, so that all have the same probability of being there.

    A record with probability p is kept with the probability of the lowest p over p. Exact tests are
    valid for what is left, without weights. The draw is a hash of the name: the same every time.

    Args:
        names: of the records, N.
        probabilities: shape (N,), of coming to review, in (0, 1].
    """
    if not len(probabilities):
        return np.zeros(0, dtype=bool)
    draws = np.array([_draw(name) for name in names])
    return np.asarray(draws < probabilities.min() / probabilities)


def _draw(name: str) -> float:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, key=b"thinned")
    return int.from_bytes(digest.digest()) / _HASHES
