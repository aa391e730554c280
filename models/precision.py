"""``model.dtype: auto``: the fastest way to compute in which this model answers as in float32."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import structlog

from streamlabel.models.labels import ProblemType
from streamlabel.models.rows import Forward, Rows
from streamlabel.models.scores import Floats

__all__ = [
    "CAREFUL_DIFFERENCE",
    "EXACT",
    "Precision",
    "choose_precision",
    "probe_rows",
    "worst_difference",
]

logger = structlog.get_logger(__name__)

# Largest difference of a probability that may come with a faster way, in [0, 1].
CAREFUL_DIFFERENCE: Final = 0.02

# Of that, what the rows of the test may show: others can be worse than the worst of these.
_ALLOWED: Final = 0.75 * CAREFUL_DIFFERENCE

_PROBES: Final = 256
_LONGEST_TOKENS: Final = 24
_SEED: Final = 5


@dataclass(frozen=True, slots=True)
class Precision:
    """A way to compute a model.

    Attributes:
        dtype: torch's name for the type of the products.
        exact_layers: so many layers from the first one compute in float32 all the same; only the
            packed forward can do that.
    """

    dtype: str
    exact_layers: int = 0


EXACT: Final = Precision("float32")


def choose_precision(
    load: Callable[[Precision], Forward],
    faster: Sequence[Precision],
    probes: Rows,
    problem_type: ProblemType,
) -> tuple[Forward, Precision]:
    """Return the model computed in the first of the faster ways that is close enough to float32.

    Args:
        load: makes the model.
        faster: ways to try, the fastest first.
        probes: rows that the model is asked about in every way.
        problem_type: how logits become probabilities.

    Returns:
        The model and its way; float32 if no other is close enough.
    """
    exact = load(EXACT)
    if not faster:
        return exact, EXACT
    right = exact.logits(probes)
    for way in faster:
        model = load(way)
        difference = worst_difference(right, model.logits(probes), problem_type)
        is_close = difference <= _ALLOWED  # NaN is too far, too
        logger.info(
            "precision_tried",
            dtype=way.dtype,
            exact_layers=way.exact_layers,
            is_close=is_close,
            difference=round(difference, 4),
            limit=_ALLOWED,
        )
        if is_close:
            return model, way
    return exact, EXACT


def worst_difference(one: Floats, other: Floats, problem_type: ProblemType) -> float:
    """Return the most by which a probability can differ, by what logits (N, K) differ.

    The slope of softmax between two labels, and of a sigmoid, is at most 1/4. A row whose answer
    is certain would hide what its logits show: that another one, in doubt, can be turned.
    """
    shift = one - other  # (N, K)
    if problem_type == "multi_label":
        return float(np.abs(shift).max()) / 4
    return float(np.ptp(shift, axis=-1).max()) / 4


def probe_rows(vocabulary: int, before: tuple[int, ...], after: tuple[int, ...]) -> Rows:
    """Return rows of 2 to 24 random tokens, the same each time.

    Short rows move most: rounding evens out over many tokens.
    """
    rng = np.random.default_rng(_SEED)
    return [
        np.array((*before, *rng.integers(0, vocabulary, length), *after), dtype=np.int32)
        for length in rng.integers(2, _LONGEST_TOKENS + 1, _PROBES)
    ]
