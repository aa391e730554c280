"""``model.dtype: auto``: the faster type, if this model and this machine answer as in float32."""

from collections.abc import Callable
from typing import Final

import numpy as np
import structlog

from streamlabel.models.devices import Device
from streamlabel.models.fit_settings import fastest_precision
from streamlabel.models.labels import ProblemType
from streamlabel.models.rows import Forward, Rows
from streamlabel.models.scores import probabilities

__all__ = ["CAREFUL_DIFFERENCE", "choose_precision", "probe_rows"]

logger = structlog.get_logger(__name__)

# Largest difference of a probability that may come with the faster type, in [0, 1].
CAREFUL_DIFFERENCE: Final = 0.02

_PROBES: Final = 64
_LONGEST_TOKENS: Final = 64
_SEED: Final = 5


def choose_precision(
    load: Callable[[str], Forward], device: Device, probes: Rows, problem_type: ProblemType
) -> tuple[Forward, str]:
    """Return the model in bfloat16 if that is fast here and close enough, else in float32.

    Args:
        load: makes the model in a type.
        device: a CPU is asked first whether it is fast in bfloat16.
        probes: rows that both are asked about.
        problem_type: how logits become probabilities.

    Returns:
        The model and the name of its type.
    """
    exact = load("float32")
    if device.kind == "cpu" and fastest_precision() != "bfloat16":
        return exact, "float32"
    fast = load("bfloat16")
    one, other = (probabilities(each.logits(probes), problem_type) for each in (exact, fast))
    difference = float(np.abs(one - other).max())  # NaN is too far, too
    is_close = difference <= CAREFUL_DIFFERENCE
    dtype = "bfloat16" if is_close else "float32"
    logger.info(
        "precision_chosen", dtype=dtype, difference=round(difference, 4), limit=CAREFUL_DIFFERENCE
    )
    return (fast if is_close else exact), dtype


def probe_rows(vocabulary: int, before: tuple[int, ...], after: tuple[int, ...]) -> Rows:
    """Return rows of 4 to 64 random tokens, the same each time.

    Words without sense leave a classifier unsure, and it is unsure answers that rounding moves.
    """
    rng = np.random.default_rng(_SEED)
    return [
        np.array((*before, *rng.integers(0, vocabulary, length), *after), dtype=np.int32)
        for length in rng.integers(4, _LONGEST_TOKENS + 1, _PROBES)
    ]
