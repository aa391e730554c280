"""From a model's log scores to probabilities that mean what they say. Applied to every record.

Plain Python: for the handful of labels of a task that is cheaper than an array per record.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from streamlabel.models.base import Prediction
from streamlabel.models.labels import ProblemType

__all__ = ["MAX_TEMPERATURE", "MIN_TEMPERATURE", "Calibration", "log_scores_of"]

# A fit outside this range says that the data do not carry a temperature, not that the model is
# off by that much.
MIN_TEMPERATURE = 0.05
MAX_TEMPERATURE = 20.0

# Stands for log(0) where a back end gives probabilities only; far below what changes a decision.
_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Calibration:
    """How log scores become probabilities.

    single_label: ``softmax((a + bias) / temperature)``; multi_label: ``sigmoid(slope * a +
    offset)``, label by label (Platt).

    Attributes:
        problem_type: which of the two.
        temperature: in [0.05, 20]; above 1 the model was too sure; 1 changes nothing.
        bias: shape (K,), or empty: none.
        slopes: multi_label: shape (K,).
        offsets: multi_label: shape (K,).

    Source: temperature and vector scaling, Guo et al. 2017; Platt 1999.
    """

    problem_type: ProblemType
    temperature: float = 1.0
    bias: tuple[float, ...] = ()
    slopes: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()

    @property
    def is_identity(self) -> bool:
        """Whether it leaves the model's own probabilities as they are."""
        return (
            self.temperature == 1.0
            and not any(self.bias)
            and all(slope == 1.0 for slope in self.slopes)
            and not any(self.offsets)
        )

    def probabilities(self, prediction: Prediction) -> tuple[float, ...] | None:
        """Return the calibrated probabilities, (K,); None where the model gave no answer."""
        if prediction.probabilities is None or self.is_identity:
            return prediction.probabilities
        scores = log_scores_of(prediction, self.problem_type)
        if self.problem_type == "multi_label":
            lines = zip(scores, self.slopes, self.offsets, strict=True)
            return tuple(_sigmoid(slope * score + offset) for score, slope, offset in lines)
        if self.bias:
            scores = [score + bias for score, bias in zip(scores, self.bias, strict=True)]
        return _softmax([score / self.temperature for score in scores])


def log_scores_of(prediction: Prediction, problem_type: ProblemType) -> Sequence[float]:
    """Return what calibration works on, (K,), of a prediction with probabilities.

    A back end without log scores is asked for the logarithm of its probabilities: dividing a
    probability itself by a temperature distorts it.
    """
    if prediction.log_scores is not None:
        return prediction.log_scores
    if prediction.probabilities is None:
        raise ValueError("a prediction without an answer has no scores. This is a bug.")
    known = [min(max(p, _LEAST), 1.0) for p in prediction.probabilities]
    if problem_type == "multi_label":
        return [math.log(p) - math.log(max(1.0 - p, _LEAST)) for p in known]
    return [math.log(p) for p in known]


def _softmax(scores: Sequence[float]) -> tuple[float, ...]:
    top = max(scores)  # subtracted before exp, which overflows at 710
    powers = [math.exp(score - top) for score in scores]
    total = math.fsum(powers)
    return tuple(power / total for power in powers)


def _sigmoid(score: float) -> float:
    if score >= 0:
        return 1.0 / (1.0 + math.exp(-score))
    power = math.exp(score)  # exp of a large positive number would overflow
    return power / (1.0 + power)
