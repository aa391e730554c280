"""Label probabilities from the most probable tokens only, with bounds for missing labels.

If an engine returns only the top k tokens, labels may be missing. Each missing label is at most as
probable as the last candidate, and together they are at most as probable as all tokens that were
not returned. A probability of 0 for them would make an uncertain prediction look certain.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from streamlabel.models.core.classifier import Prediction
from streamlabel.models.label_scoring.answer import Answer, from_label_scores, log_sum_exp
from streamlabel.models.label_scoring.label_reads import SHOWN_CHARS

__all__ = ["Bounded", "bound_answer", "predict_bounded"]

# If the confidence is uncertain by more than this, the record goes to review.
MAX_UNKNOWN = 0.01

# Token ids of an engine, or tokens as a remote endpoint spells them.
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Bounded:
    """Label probabilities with a bound on their uncertainty.

    Attributes:
        answer: with the lower bound for the most probable label and the upper bound for off-label
            mass.
        unknown: how much higher that label's probability may be, in [0, 1]; 0 if no label was
            missing.
    """

    answer: Answer
    unknown: float


def bound_answer(
    candidates: Mapping[Key, float],
    forms: Sequence[Sequence[Key]],
    *,
    top: Key,
    begun: Sequence[Sequence[float]] = (),
) -> Bounded | None:
    """Return the bounded answer; None if no label is among the candidates.

    Args:
        candidates: token -> log-probability over the whole vocabulary, of the most probable ones.
        forms: shape (K, any), the tokens of each label's answers; none belongs to two labels.
        top: the most probable token.
        begun: shape (K, any), log-probabilities of candidates that may begin an answer of several
            tokens, of which the rest is not known; default: none does.

    Raises:
        InferenceError: the numbers are not log-probabilities over a vocabulary.
    """
    known = [[candidates[token] for token in tokens if token in candidates] for tokens in forms]
    missing = [len(tokens) - len(found) for tokens, found in zip(forms, known, strict=True)]
    possible = [list(values) for values in begun] or [[] for _ in forms]
    masses = [math.fsum(map(math.exp, found)) for found in known]
    if not any(masses):
        return None
    chosen = masses.index(max(masses))
    rest = 1.0 - math.fsum(map(math.exp, candidates.values()))
    # At most the last candidate's, and at most the remaining probability; 1e-9 in case rounding
    # leaves none.
    bound = min(*candidates.values(), math.log(max(rest, 1e-9)))
    scores = [
        log_sum_exp(found if label == chosen else [*found, *([bound] * count), *more])
        for label, (found, count, more) in enumerate(zip(known, missing, possible, strict=True))
    ]
    # With all bounds reached, the sum may exceed 1; scaling it down keeps the ratios.
    is_bound = any(missing) or any(possible)
    excess = max(0.0, log_sum_exp(scores)) if is_bound else 0.0
    answer = from_label_scores(
        [score - excess for score in scores],
        argmax_is_label=any(top in tokens for tokens in forms),
        top_log_probability=candidates[top],
    )
    mass = min(1.0, math.fsum(masses))
    answer = replace(answer, label_mass=mass, off_label_mass=1.0 - mass)
    most = masses[chosen] + missing[chosen] * math.exp(bound)
    most += math.fsum(map(math.exp, possible[chosen]))
    highest = most / (math.fsum(masses) - masses[chosen] + most)
    unknown = highest - answer.probabilities[chosen] if is_bound else 0.0
    return Bounded(answer, max(0.0, unknown))


def predict_bounded(
    candidates: Mapping[Key, float],
    forms: Sequence[Sequence[Key]],
    *,
    top: Key,
    shown: str,
    truncated: bool,
    review_reasons: tuple[str, ...] = (),
    max_unknown: float = MAX_UNKNOWN,
    begun: Sequence[Sequence[float]] = (),
) -> Prediction:
    """Return the prediction for one text; without probabilities if they are too uncertain.

    Args:
        candidates: see ``bound_answer``.
        forms: see ``bound_answer``.
        top: see ``bound_answer``.
        shown: the most probable token as text, for an off-label answer.
        truncated: see Prediction.
        review_reasons: see Prediction.
        max_unknown: how much higher than published the confidence may be, in [0, 1].
        begun: see ``bound_answer``.

    Raises:
        InferenceError: the numbers are not log-probabilities over a vocabulary.
    """
    found = bound_answer(candidates, forms, top=top, begun=begun)
    is_label = any(top in tokens for tokens in forms)
    off_label = None if is_label else shown[:SHOWN_CHARS]
    if found is None or found.unknown > max_unknown:
        return Prediction(
            None,
            truncated=truncated,
            review_reasons=("off_label", *review_reasons),
            argmax_is_label=is_label,
            off_label_token=off_label,
        )
    return Prediction(
        found.answer.probabilities,
        found.answer.log_scores,
        truncated=truncated,
        review_reasons=review_reasons,
        off_label_mass=found.answer.off_label_mass,
        argmax_is_label=is_label,
        first_token_probability=found.answer.first_token_probability,
        off_label_token=off_label,
    )
