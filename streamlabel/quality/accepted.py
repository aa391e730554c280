"""What a calibration accepts on labelled texts: coverage and error, by label and by slice.

And whether its guarantees held: on texts that it was not made with.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.calibration.binomial_bounds import lower_bound, upper_bound
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.calibration_sections import LabelOutcome
from streamlabel.models.calibration.outcomes import count_by_label, share_of
from streamlabel.quality.evaluation import Scored
from streamlabel.quality.labelled import LabelledText
from streamlabel.quality.repeated import distinct

__all__ = ["Accepted", "Guarantee", "Slice", "by_label", "judge_accepted"]

Bools = NDArray[np.bool_]

Result = Literal["held", "broken", "not decided"]

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
class Guarantee:
    """A guarantee of the calibration on these texts; equal texts count once.

    Attributes:
        what: a sentence part: what was guaranteed.
        target: the largest share that it allows.
        part: what it is about, for example wrong labels.
        whole: among these.
        result: held: the upper bound is below the target; broken: the lower bound is above it; else
            these texts cannot tell, each at the confidence of the guarantee.
    """

    what: str
    target: float
    part: int
    whole: int
    result: Result

    def __str__(self) -> str:
        """Return the result in a line, with the 95 % interval."""
        target = f"{self.target:.1%}".replace("%", " %")
        measured = f"{self.part:,} of {self.whole:,}, {share_of(self.part, self.whole)}"
        said = {
            "held": "held",
            "broken": "BROKEN: calibrate again, and find out what changed",
            "not decided": "not decided by these texts: use more",
        }
        return f"{self.what} <= {target}: {measured}: {said[self.result]}"


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
    """

    texts: int
    accepted: int
    wrong: int
    by_label: Mapping[str, LabelOutcome]
    slices: tuple[Slice, ...]
    guarantees: tuple[Guarantee, ...]


def judge_accepted(
    scored: Scored,
    texts: Sequence[LabelledText],
    accepted: Bools,
    *,
    truncated: Bools,
    lost: int,
    calibration: CalibrationFile | None,
) -> Accepted:
    """Return what is accepted.

    Args:
        scored: the predictions.
        texts: those that were predicted, N.
        accepted: shape (N,), which have no reason for review.
        truncated: shape (N,), of which the model did not see all.
        lost: texts without a usable prediction; they go to review.
        calibration: whose guarantees are judged; None: there is none, or it does not hold.
    """
    wrong = ~scored.is_right
    return Accepted(
        texts=len(texts) + lost,
        accepted=int(accepted.sum()),
        wrong=int((accepted & wrong).sum()),
        by_label=by_label(scored, accepted),
        slices=tuple(_slices(scored, texts, accepted, truncated)),
        guarantees=()
        if calibration is None
        else tuple(_guarantees(scored, texts, accepted, calibration)),
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


def _guarantees(
    scored: Scored, texts: Sequence[LabelledText], accepted: Bools, file: CalibrationFile
) -> Iterable[Guarantee]:
    first = {text.line for text in distinct(texts).texts}
    once = np.array([text.line in first for text in texts], dtype=bool)
    kept = accepted & once
    promised = file.thresholds
    if promised is not None and promised.target_error is not None:
        wrong = int((kept & ~scored.is_right).sum())
        yield _judged(
            "error of accepted labels", promised.target_error, wrong, int(kept.sum()),
            promised.confidence,
        )  # fmt: skip
    for label, limit in file.missed.items():
        index = scored.labels.names.index(label)
        with_label = scored.truth[:, index] & once
        missed = with_label & kept & ~scored.decided[:, index]
        yield _judged(
            f"{label} accepted under another label", limit.target, int(missed.sum()),
            int(with_label.sum()), limit.confidence,
        )  # fmt: skip


def _judged(what: str, target: float, part: int, whole: int, confidence: float) -> Guarantee:
    result: Result = "not decided"
    if whole and upper_bound(part, whole, confidence=confidence) <= target:
        result = "held"
    elif whole and lower_bound(part, whole, confidence=confidence) > target:
        result = "broken"
    return Guarantee(what, target, part, whole, result)


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
