"""From a model's log scores to calibrated probabilities. Applied to every record.

Plain Python: for the handful of labels of a task that is cheaper than an array per record.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from streamlabel.models.core.classifier import Prediction
from streamlabel.models.core.labels import ProblemType
from streamlabel.models.core.probabilities import softmax_of_one

__all__ = ["MAX_TEMPERATURE", "MIN_TEMPERATURE", "Calibration", "log_scores_of"]

# A fitted temperature outside this range means that the data are too few or too noisy to determine
# one, not that the model is miscalibrated by that much.
MIN_TEMPERATURE = 0.05
MAX_TEMPERATURE = 20.0

# Smallest probability whose logarithm is taken, where a back end returns probabilities only; far
# below any value that changes a decision.
_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Calibration:
    """How log scores become probabilities.

    single_label: ``softmax((a + bias) / temperature)``; multi_label: ``sigmoid(slope * a +
    offset)``, label by label (Platt).

    Attributes:
        problem_type: which of the two.
        temperature: in [0.05, 20]; above 1 if the model is overconfident; 1 changes nothing.
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
        """Whether it leaves the model's own probabilities unchanged."""
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
        return softmax_of_one([score / self.temperature for score in scores])


def log_scores_of(prediction: Prediction, problem_type: ProblemType) -> Sequence[float]:
    """Return the log scores (K,), the input of calibration, of a prediction with probabilities.

    If a back end has no log scores, they are the logarithms of its probabilities: dividing the
    probabilities themselves by a temperature would distort them.
    """
    if prediction.log_scores is not None:
        return prediction.log_scores
    if prediction.probabilities is None:
        raise ValueError("a prediction without an answer has no scores. This is a bug.")
    known = [min(max(p, _LEAST), 1.0) for p in prediction.probabilities]
    if problem_type == "multi_label":
        return [math.log(p) - math.log(max(1.0 - p, _LEAST)) for p in known]
    return [math.log(p) for p in known]


def _sigmoid(score: float) -> float:
    if score >= 0:
        return 1.0 / (1.0 + math.exp(-score))
    power = math.exp(score)  # exp of a large positive number would overflow
    return power / (1.0 + power)
