"""``model.dtype: auto``: the fastest precision with nearly the same predictions as float32."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import structlog

from streamlabel.models.core.labels import ProblemType
from streamlabel.models.core.probabilities import Floats
from streamlabel.models.tokens.rows import Forward, Rows

__all__ = [
    "CAREFUL_DIFFERENCE",
    "EXACT",
    "Precision",
    "choose_precision",
    "probe_rows",
    "worst_difference",
]

logger = structlog.get_logger(__name__)

# Maximum difference of a probability between a faster precision and float32, in [0, 1].
CAREFUL_DIFFERENCE: Final = 0.02

# Maximum difference on the test rows; smaller, because other rows can be worse than the worst of
# these.
_ALLOWED: Final = 0.75 * CAREFUL_DIFFERENCE

_PROBES: Final = 256
_LONGEST_TOKENS: Final = 24
_SEED: Final = 5


@dataclass(frozen=True, slots=True)
class Precision:
    """The precision in which a model computes.

    Attributes:
        dtype: torch's name for the type of the matrix products.
        exact_layers: number of layers, from the first one, that compute in float32 regardless; only
            the packed model supports this.
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
    """Return the model in the first of the faster precisions that is close enough to float32.

    Args:
        load: loads the model in a precision.
        faster: precisions to try, the fastest first.
        probes: rows that are computed in every precision.
        problem_type: how logits become probabilities.

    Returns:
        The model and its precision; float32 if no other is close enough.
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
    """Return an upper bound on the difference of a probability, given two sets of logits (N, K).

    The slope of softmax between two labels, and of a sigmoid, is at most 1/4. The logits are
    compared, not the probabilities: in a row whose probability is near 1, a difference of the
    logits hardly shows, but the same difference could change the label of an uncertain text.
    """
    shift = one - other  # (N, K)
    if problem_type == "multi_label":
        return float(np.abs(shift).max()) / 4
    return float(np.ptp(shift, axis=-1).max()) / 4


def probe_rows(vocabulary: int, before: tuple[int, ...], after: tuple[int, ...]) -> Rows:
    """Return rows of 2 to 24 random tokens, the same in every run.

    Short rows differ most, because rounding errors average out over many tokens.
    """
    rng = np.random.default_rng(_SEED)
    return [
        np.array((*before, *rng.integers(0, vocabulary, length), *after), dtype=np.int32)
        for length in rng.integers(2, _LONGEST_TOKENS + 1, _PROBES)
    ]
