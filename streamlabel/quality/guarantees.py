"""Whether the guarantees of a calibration held, on texts that it was not made with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.calibration.binomial_bounds import lower_bound, upper_bound
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.outcomes import share_of
from streamlabel.quality.evaluation import Scored
from streamlabel.quality.labelled import LabelledText
from streamlabel.quality.repeated import distinct

__all__ = ["Guarantee", "Result", "by_answer", "guarantees"]

Bools = NDArray[np.bool_]

Result = Literal["held", "broken", "not decided"]


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


def guarantees(
    scored: Scored, texts: Sequence[LabelledText], accepted: Bools, file: CalibrationFile
) -> Iterable[Guarantee]:
    """Yield the guarantees about all accepted texts, and about texts that are missed."""
    once = _once(texts)
    kept = accepted & once
    promised = file.thresholds
    if promised is not None and promised.target_error is not None:
        wrong = int((kept & ~scored.is_right).sum())
        yield _judged(
            "error of accepted labels", promised.target_error, wrong, int(kept.sum()),
            promised.confidence,
        )  # fmt: skip
    how = "without it" if scored.is_multi else "under another label"
    for label, limit in file.missed.items():
        index = scored.labels.names.index(label)
        with_label = scored.truth[:, index] & once
        missed = with_label & kept & ~scored.decided[:, index]
        yield _judged(
            f"{label} accepted {how}", limit.target, int(missed.sum()),
            int(with_label.sum()), limit.confidence,
        )  # fmt: skip


def by_answer(
    scored: Scored, texts: Sequence[LabelledText], accepted: Bools, file: CalibrationFile
) -> Iterable[tuple[str, Guarantee]]:
    """Yield (label, guarantee) of the answers about it; all hold together (Bonferroni)."""
    if file.answers is None or file.thresholds is None:
        return
    kept = accepted & _once(texts)
    promised = file.answers.guarantees
    level = 1 - (1 - file.thresholds.confidence) / max(1, len(promised))
    wrong = scored.decided != scored.truth
    for label, found in promised.items():
        errors = int((kept & wrong[:, scored.labels.names.index(label)]).sum())
        what = f"wrong answers about {label} in accepted texts"
        yield label, _judged(what, found.target_error, errors, int(kept.sum()), level)


def _once(texts: Sequence[LabelledText]) -> Bools:
    """Return which texts (N,) are the first of equal ones."""
    first = {text.line for text in distinct(texts).texts}
    return np.array([text.line in first for text in texts], dtype=bool)


def _judged(what: str, target: float, part: int, whole: int, confidence: float) -> Guarantee:
    result: Result = "not decided"
    if whole and upper_bound(part, whole, confidence=confidence) <= target:
        result = "held"
    elif whole and lower_bound(part, whole, confidence=confidence) > target:
        result = "broken"
    return Guarantee(what, target, part, whole, result)
