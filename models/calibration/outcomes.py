"""What thresholds do to each label: coverage, errors among accepted labels, and missed labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.calibration.binomial_bounds import (
    labels_needed,
    upper_bound,
    wilson_interval,
)

__all__ = ["LabelCounts", "MissedTarget", "count_by_label", "missed_floor", "share_of"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """Counts of one label.

    Attributes:
        texts: with this true label.
        predicted: texts for which the model decided on this label.
        accepted: of those predicted, without review.
        wrong: of those accepted, with another true label.
        missed: of ``texts``, accepted without this label: nobody sees that they have it.
    """

    label: str
    texts: int
    predicted: int
    accepted: int
    wrong: int
    missed: int


@dataclass(frozen=True, slots=True)
class MissedTarget:
    """At most this share of the texts with a label may be accepted without it.

    Attributes:
        floor: minimum confidence of labels under which they would be missed; 0: none is needed.
        texts: labelled texts with the label.
        missed: of those, accepted without it at the floor.
    """

    label: str
    target: float
    confidence: float
    floor: float
    texts: int
    missed: int


def count_by_label(
    decided: Bools, truth: Bools, accepted: Bools, names: Sequence[str]
) -> tuple[LabelCounts, ...]:
    """Return the counts of each label.

    Args:
        decided: shape (N, K), the model's decisions.
        truth: shape (N, K).
        accepted: shape (N,), which texts have no reason for review.
        names: of the K labels.
    """
    kept = accepted[:, None]
    rows = zip(
        names,
        truth.sum(0).tolist(),
        decided.sum(0).tolist(),
        (decided & kept).sum(0).tolist(),
        (decided & ~truth & kept).sum(0).tolist(),
        (truth & ~decided & kept).sum(0).tolist(),
        strict=True,
    )
    return tuple(LabelCounts(*row) for row in rows)


def missed_floor(
    confidence: Floats,
    would_miss: Bools,
    *,
    label: str,
    texts: int,
    target: float,
    level: float,
) -> MissedTarget | None:
    """Return the lowest confidence at which so few texts of a label are missed as asked.

    The share of missed texts can only fall when thresholds rise, so the lowest floor whose bound
    holds is valid without a correction for trying many.

    Args:
        confidence: shape (N,), calibrated.
        would_miss: shape (N,): has the label, decided without it, no other reason for review.
        label: its name.
        texts: labelled texts with the label, in review or not.
        target: largest share of them that may be missed, in (0, 1).
        level: probability that the target holds, in (0, 1).

    Returns:
        None if there are too few texts with the label to prove the target, even without a miss.

    Source: risk-controlling prediction sets for monotone risks, Bates et al. 2021.
    """
    if texts < labels_needed(target, confidence=level):
        return None
    allowed = 0
    while upper_bound(allowed + 1, texts, confidence=level) <= target:
        allowed += 1
    ranked = np.sort(confidence[would_miss])[::-1]
    floor = 0.0
    if len(ranked) > allowed:  # just above the first one that is too many
        floor = float(np.nextafter(ranked[allowed], 2.0))
    missed = int((ranked >= floor).sum())
    return MissedTarget(label, target, level, floor, texts, missed)


def share_of(part: int, whole: int) -> str:
    """Return a share with its 95 % interval, for people; a dash without anything to count."""
    if not whole:
        return "-"
    low, high = wilson_interval(part, whole)
    return f"{part / whole:.1%} ({low:.1%} to {high:.1%})".replace("%", " %")
