"""``model.dtype: auto``: the fastest precision with nearly the same predictions as float32."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import structlog

from streamlabel.models.core.labels import ProblemType
from streamlabel.models.core.probabilities import Floats, probabilities
from streamlabel.models.tokens.rows import Forward, Rows, Types

__all__ = [
    "CAREFUL_DIFFERENCE",
    "EXACT",
    "Choice",
    "Precision",
    "Probes",
    "choose_precision",
    "largest_difference",
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

    def __str__(self) -> str:
        """Return it for people."""
        return self.dtype + f" but {self.exact_layers} layers" * bool(self.exact_layers)


EXACT: Final = Precision("float32")


@dataclass(frozen=True, slots=True)
class Probes:
    """Rows on which precisions are compared.

    Attributes:
        rows: token ids.
        are_real: of real texts, so that the probabilities themselves are compared; otherwise of
            random tokens, and the bound that the logits allow is.
        types: token types of the rows; None: those of single texts.
    """

    rows: Rows
    are_real: bool = False
    types: Types | None = None

    def __str__(self) -> str:
        """Return what they are, for people."""
        return f"{len(self.rows)} rows of {'real texts' if self.are_real else 'random tokens'}"


@dataclass(frozen=True, slots=True)
class Choice:
    """The model in the precision that was chosen.

    Attributes:
        forward: the model.
        way: its precision.
        why: a sentence for people.
        difference: largest difference of a probability from float32 that was found on real texts,
            or that is allowed on random rows; None: not known.
    """

    forward: Forward
    way: Precision
    why: str
    difference: float | None = 0.0


def choose_precision(
    load: Callable[[Precision], Forward],
    faster: Sequence[Precision],
    make_probes: Callable[[], Probes],
    problem_type: ProblemType,
) -> Choice:
    """Return the model in the first of the faster precisions that is close enough to float32.

    Args:
        load: loads the model in a precision.
        faster: precisions to try, the fastest first.
        make_probes: makes the rows that are computed in every precision; called after the model was
            loaded in float32.
        problem_type: how logits become probabilities.
    """
    exact = load(EXACT)
    if not faster:
        return Choice(exact, EXACT, "float32: this device has no faster precision")
    probes = make_probes()
    right = exact.logits(probes.rows, probes.types)
    measure = largest_difference if probes.are_real else worst_difference
    found = []
    for way in faster:
        model = load(way)
        difference = measure(right, model.logits(probes.rows, probes.types), problem_type)
        is_close = difference <= _ALLOWED  # NaN is too far, too
        logger.info(
            "precision_tried",
            dtype=way.dtype,
            exact_layers=way.exact_layers,
            is_close=is_close,
            difference=round(difference, 4),
            limit=_ALLOWED,
            rows=str(probes),
        )
        found.append(f"{way} by up to {difference:.4f}")
        if is_close:
            why = (
                f"{way}: on {probes} a probability differs from float32 by at most"
                f" {difference:.4f}, {_ALLOWED:g} is allowed"
            )
            known = difference if probes.are_real else CAREFUL_DIFFERENCE
            return Choice(model, way, why, known)
    why = f"float32: on {probes} {'; '.join(found)}, {_ALLOWED:g} is allowed"
    if not probes.are_real:
        why += ". Calibrate to have it judged on real texts"
    return Choice(exact, EXACT, why)


def largest_difference(one: Floats, other: Floats, problem_type: ProblemType) -> float:
    """Return the largest difference of a probability, given two sets of logits (N, K)."""
    shown = probabilities(one, problem_type), probabilities(other, problem_type)
    return float(np.abs(shown[0] - shown[1]).max())


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
