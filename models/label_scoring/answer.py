"""Label probabilities from the log-probabilities of answers; the same for every engine. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streamlabel.errors import InferenceError
from streamlabel.models.core.probabilities import softmax_of_one

__all__ = ["Answer", "FirstToken", "from_label_scores", "log_sum_exp", "read"]


@dataclass(frozen=True, slots=True)
class FirstToken:
    """The distribution of the first token that an engine would generate.

    Attributes:
        log_probabilities: token id -> log-probability over the *whole* vocabulary, before any
            penalty, grammar or temperature; contains at least the requested ids.
        top_id: the most probable token of the vocabulary.
        top_log_probability: its log-probability.
    """

    log_probabilities: Mapping[int, float]
    top_id: int
    top_log_probability: float

    def log_probability(self, token: int) -> float:
        """Return the log-probability of a requested token.

        Raises:
            InferenceError: it is missing or not finite. A default in its place would be a wrong
                probability without any sign of it.
        """
        value = self.log_probabilities.get(token, math.nan)
        if not math.isfinite(value):
            raise InferenceError(f"the engine returned no finite log-probability for token {token}")
        return value


@dataclass(frozen=True, slots=True)
class Answer:
    """One text's answer over a label set.

    Attributes:
        log_scores: shape (K,), log-probability that the model answers with any form of the label;
            their softmax is ``probabilities``.
        probabilities: shape (K,), renormalised over the labels; sums to 1.
        label_mass: probability that the answer is any label, in [0, 1].
        off_label_mass: the rest, in [0, 1].
        argmax_is_label: the most probable token belongs to a label.
        first_token_probability: probability of that token, in [0, 1].
    """

    log_scores: tuple[float, ...]
    probabilities: tuple[float, ...]
    label_mass: float
    off_label_mass: float
    argmax_is_label: bool
    first_token_probability: float


def read(first: FirstToken, forms: Sequence[Sequence[int]]) -> Answer:
    """Return the answer; the probabilities of a label's forms are added.

    The sum is the probability of the event "answers with this label"; the largest form alone would
    underestimate labels that can be written in several ways.

    Args:
        first: from the engine.
        forms: shape (K, any), the token ids of each label; no id belongs to two labels.

    Raises:
        InferenceError: a label's token is missing or not finite.
    """
    scores = [log_sum_exp([first.log_probability(t) for t in ids]) for ids in forms]
    return from_label_scores(
        scores,
        argmax_is_label=any(first.top_id in ids for ids in forms),
        top_log_probability=first.top_log_probability,
    )


def from_label_scores(
    log_scores: Sequence[float], *, argmax_is_label: bool, top_log_probability: float
) -> Answer:
    """Return the answer for log-probabilities of whole labels.

    Args:
        log_scores: shape (K,), of disjoint events; finite.
        argmax_is_label: see Answer.
        top_log_probability: of the most probable first token.

    Raises:
        InferenceError: a number is not finite, or the probabilities of the labels add up to more
            than 1, so the engine's numbers are not log-probabilities over the vocabulary.
    """
    if not all(map(math.isfinite, (*log_scores, top_log_probability))):
        raise InferenceError("the model's log-probabilities are not finite")
    total = log_sum_exp(log_scores)
    # 1e-3: the error of float32 sums over a vocabulary of 150,000 is smaller, that of renormalised
    # top-k probabilities is larger
    if total > 1e-3 or top_log_probability > 1e-3:
        raise InferenceError(
            f"the labels have a probability of {math.exp(min(total, 50.0)):.4g}, above 1; the"
            " engine does not return log-probabilities over the whole vocabulary"
        )
    mass = min(1.0, math.exp(total))
    return Answer(
        log_scores=tuple(log_scores),
        probabilities=softmax_of_one(log_scores),
        label_mass=mass,
        off_label_mass=1.0 - mass,
        argmax_is_label=argmax_is_label,
        first_token_probability=min(1.0, math.exp(top_log_probability)),
    )


def log_sum_exp(values: Sequence[float]) -> float:
    """Return log(sum(exp(values))); the maximum is subtracted first, or exp underflows to 0."""
    top = max(values)
    return top + math.log(math.fsum(math.exp(value - top) for value in values))
