"""What a calibration accepts on labelled texts: coverage and error, by label and by slice.

And whether its guarantees held: on texts that it was not made with.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.calibration_sections import LabelOutcome
from streamlabel.models.calibration.outcomes import count_by_label
from streamlabel.quality.answer_outcomes import AnswerOutcome, answer_outcomes
from streamlabel.quality.evaluation import Scored
from streamlabel.quality.guarantees import Guarantee, by_answer, guarantees
from streamlabel.quality.labelled import LabelledText

__all__ = ["Accepted", "Slice", "by_label", "judge_accepted"]

Bools = NDArray[np.bool_]

# Largest number of values of a field that become slices; the others are one.
_MOST_VALUES = 12
_LENGTHS = ("short third", "middle third", "long third")


@dataclass(frozen=True, slots=True)
class Slice:
    """Texts with something in common.

    Attributes:
        field: what they have in common: ``length``, ``truncated``, or a field of the file.
        value: its value.
        accepted: of ``texts``, without review.
        wrong: of those accepted.
        right: of all its texts.
        confidence: mean of its texts; a calibrated model is right as often.
    """

    field: str
    value: str
    texts: int
    accepted: int
    wrong: int
    right: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the thresholds in force accept.

    Attributes:
        texts: evaluated, unusable predictions included.
        accepted: of those, without review.
        wrong: of those accepted.
        by_label: see ``LabelOutcome``.
        slices: each with at least one text.
        guarantees: empty if the calibration has none, or thresholds were loosened.
        answers: of a multi-label task, label by label; else empty.
    """

    texts: int
    accepted: int
    wrong: int
    by_label: Mapping[str, LabelOutcome]
    slices: tuple[Slice, ...]
    guarantees: tuple[Guarantee, ...]
    answers: tuple[AnswerOutcome, ...] = ()


def judge_accepted(
    scored: Scored,
    texts: Sequence[LabelledText],
    accepted: Bools,
    *,
    truncated: Bools,
    lost: int,
    calibration: CalibrationFile | None,
    sure: Bools | None = None,
) -> Accepted:
    """Return what is accepted.

    Args:
        scored: the predictions.
        texts: those that were predicted, N.
        accepted: shape (N,), which have no reason for review.
        truncated: shape (N,), of which the model did not see all.
        lost: texts without a usable prediction; they go to review.
        calibration: whose guarantees are judged; None: there is none, or it does not hold.
        sure: shape (N, K), which answers are sure, in a multi-label task; None: not asked for.
    """
    wrong = ~scored.is_right
    held = {} if calibration is None else dict(by_answer(scored, texts, accepted, calibration))
    return Accepted(
        texts=len(texts) + lost,
        accepted=int(accepted.sum()),
        wrong=int((accepted & wrong).sum()),
        by_label=by_label(scored, accepted),
        slices=tuple(_slices(scored, texts, accepted, truncated)),
        guarantees=()
        if calibration is None
        else (*held.values(), *guarantees(scored, texts, accepted, calibration)),
        answers=() if sure is None else tuple(answer_outcomes(scored, accepted, sure, lost, held)),
    )


def by_label(scored: Scored, accepted: Bools) -> dict[str, LabelOutcome]:
    """Return what happened to the texts of each label."""
    counts = count_by_label(scored.decided, scored.truth, accepted, scored.labels.names)
    return {
        each.label: LabelOutcome(
            texts=each.texts,
            predicted=each.predicted,
            accepted=each.accepted,
            wrong=each.wrong,
            missed=each.missed,
        )
        for each in counts
    }


def _slices(
    scored: Scored, texts: Sequence[LabelledText], accepted: Bools, truncated: Bools
) -> Iterable[Slice]:
    is_right, confidence = scored.is_right, scored.confidence
    lengths = np.array([len(text.text) for text in texts])
    ranks = np.argsort(np.argsort(lengths, kind="stable"), kind="stable") * 3 // len(texts)
    groups = {("length", name): ranks == place for place, name in enumerate(_LENGTHS)}
    if truncated.any():
        groups["truncated", "yes"], groups["truncated", "no"] = truncated, ~truncated
    for field in dict.fromkeys(name for text in texts for name, _ in text.fields):
        values = np.array([dict(text.fields).get(field, "") for text in texts], dtype=object)
        known, counts = np.unique(values, return_counts=True)
        frequent = [str(known[i]) for i in np.argsort(-counts, kind="stable")[:_MOST_VALUES]]
        groups |= {(field, value): values == value for value in frequent}
        if len(known) > len(frequent):
            groups[field, "others"] = ~np.isin(values, frequent)
    for (field, value), members in groups.items():
        if members.any():
            kept = members & accepted
            yield Slice(
                field,
                value,
                texts=int(members.sum()),
                accepted=int(kept.sum()),
                wrong=int((kept & ~is_right).sum()),
                right=int((members & is_right).sum()),
                confidence=float(confidence[members].mean()),
            )
