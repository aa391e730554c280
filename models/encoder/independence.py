"""Proof at load that a prediction does not depend on the other texts of its batch.

Rows of different lengths are padded to be computed together. Whether padding changes a prediction
depends on the architecture: the attention mask may not apply everywhere (convolutions, Fourier
transforms, averages over the row), or the prediction may be read from the last column. So a few
short rows are computed alone and in a batch. If the two differ with padding on either side, only
rows of the same length are batched, without padding.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

import numpy as np
import structlog

from streamlabel.errors import InferenceError, ModelLoadError
from streamlabel.models.core.labels import ProblemType
from streamlabel.models.core.probabilities import Floats
from streamlabel.models.encoder.padded import Padding
from streamlabel.models.encoder.precision import worst_difference
from streamlabel.models.tokens.rows import Rows

__all__ = ["Together", "company_rows", "describe", "settle_padding", "tolerance"]

logger = structlog.get_logger(__name__)

# Tolerated difference of a probability from another order of summation: 1e-5 was measured in
# float32, and one step of the logits in 16 bits. If padding affects a prediction, the difference is
# far larger.
_TOLERANCE: Final = {"float32": 1e-4}
_TOLERANCE_16_BITS: Final = 0.05

# Lengths of the rows' texts in tokens: odd, even, shorter and longer than the width of a
# convolution, and two of the same length, which are batched without padding.
_LENGTHS: Final = (1, 3, 3, 6, 11, 22)
_SEED: Final = 11


class Together(Protocol):
    """Computes rows in one call with the given padding; with "none" all have one length."""

    def __call__(self, rows: Rows, padding: Padding) -> Floats:
        """Return logits (R, K)."""
        ...


def tolerance(dtype: str) -> float:
    """Return the tolerated difference of a text's probabilities from rounding."""
    return _TOLERANCE.get(dtype, _TOLERANCE_16_BITS)


def company_rows(
    tokens: Sequence[int], before: tuple[int, ...], after: tuple[int, ...], *, limit: int | None
) -> Rows:
    """Return short rows of different lengths, the same in every run.

    Args:
        tokens: ids of ordinary tokens.
        before: special tokens in front of every row.
        after: special tokens behind every row.
        limit: the model's maximum length in tokens, None if unknown.
    """
    rng = np.random.default_rng(_SEED)
    room = max(1, limit - len(before) - len(after)) if limit else max(_LENGTHS)
    return [
        np.array((*before, *rng.choice(tokens, min(length, room)), *after), dtype=np.int32)
        for length in _LENGTHS
    ]


def settle_padding(
    alone: Callable[[Rows], Floats],
    together: Together,
    rows: Rows,
    *,
    sides: Sequence[Padding],
    dtype: str,
    problem_type: ProblemType,
) -> tuple[Padding, float]:
    """Return the padding that changes no prediction, and the largest difference of a probability.

    Args:
        alone: computes one row, (1, K).
        together: computes all rows.
        rows: of different lengths, some of one length.
        sides: padding to try, in this order; "none" is tried last.
        dtype: of the matrix products.
        problem_type: how logits become probabilities.

    Raises:
        ModelLoadError: predictions depend on the other rows of a batch even without padding.
    """
    right = np.concatenate([alone([row]) for row in rows])  # (R, K)
    usable = np.isfinite(right).all(axis=-1)
    if not usable.all():  # no prediction is published for such texts anyway
        rows, right = [row for row, fine in zip(rows, usable, strict=True) if fine], right[usable]
    if not rows:
        raise ModelLoadError("model.path: the logits are not finite; name another model")
    seen: dict[Padding, float] = {}
    for side in sides:
        seen[side] = _difference(right, rows, partial(together, padding=side), problem_type)
        if seen[side] <= tolerance(dtype):
            return side, seen[side]
    moved = 0.0
    for length in {len(row) for row in rows}:
        places = [i for i, row in enumerate(rows) if len(row) == length]
        part = [rows[i] for i in places]
        if len(part) > 1:
            compute = partial(together, padding="none")
            found = _difference(right[places], part, compute, problem_type)
            moved = max(moved, found)
    if moved > tolerance(dtype):
        raise ModelLoadError(
            "model.path: the predictions of this model depend on the other texts of the batch (a"
            f" probability changes by {moved:.2g} even without padding); choose another model"
        )
    logger.warning(
        "rows_of_one_length_only",
        differences={side: f"{difference:.2g}" for side, difference in seen.items()},
        why="padding changes this model's predictions",
        cost="texts of different lengths cannot share a call of the model",
    )
    return "none", moved


def describe(padding: Padding, moved: float) -> str:
    """Return what was proven, for ``streamlabel check``."""
    if padding == "none":
        return (
            "rows of one length only, because padding changes this model's predictions; in a batch"
            f" a probability changes by {moved:.0e} at most"
        )
    return f"padded on the {padding}; in a batch a probability changes by {moved:.0e} at most"


def _difference(
    right: Floats, rows: Rows, together: Callable[[Rows], Floats], problem_type: ProblemType
) -> float:
    try:
        found = together(rows)
    except InferenceError:  # the model cannot be padded on this side
        return float("inf")
    difference = worst_difference(right, found, problem_type)
    return difference if np.isfinite(difference) else float("inf")
