"""The sections of a calibration file about thresholds."""

from collections.abc import Sequence
from typing import Literal

from streamlabel.models.calibration.calibration_sections import (
    BothAnswers,
    LabelGuarantee,
    StricterStep,
    Thresholds,
)
from streamlabel.models.calibration.thresholds import NEVER, Promise
from streamlabel.models.core.labels import LabelSet
from streamlabel.quality.choosing import Wish

__all__ = ["answers_section", "stricter_section", "thresholds_section"]


def thresholds_section(promise: Promise, wish: Wish, labels: LabelSet) -> Thresholds:
    """Return the section about thresholds."""
    chosen_by: Literal["promise", "budget", "costs"] = "budget"
    if wish.costs is not None:
        chosen_by = "costs"
    elif wish.target_error is not None or wish.missed:
        chosen_by = "promise"
    return Thresholds(
        chosen_by=chosen_by,
        by_label=_named(labels.names, promise.thresholds),
        target_error=promise.target,
        bound=promise.bound,
        confidence=promise.confidence,
        summary=str(promise),
        pooled=[list(group.labels) for group in promise.groups if len(group.labels) > 1],
    )


def answers_section(promise: Promise, labels: LabelSet) -> BothAnswers | None:
    """Return the section about both answers; None if a label has one threshold for both."""
    if not promise.absent:
        return None
    names = labels.names
    return BothAnswers(
        absent=_named(names, promise.absent),
        guarantees={
            each.label: LabelGuarantee(
                target_error=promise.bound, accepted=each.accepted, wrong=each.wrong
            )
            for each in promise.by_label
        },
        stricter=[
            StricterStep(by_label=_named(names, step.present), absent=_named(names, step.absent))
            for step in promise.steps
        ],
    )


def _named(names: Sequence[str], thresholds: Sequence[float]) -> dict[str, float | None]:
    return {n: None if t == NEVER else t for n, t in zip(names, thresholds, strict=True)}


def stricter_section(promise: Promise) -> dict[str, list[float]]:
    """Return for each label the stricter thresholds that are proven as well, ascending."""
    return {
        name: list(group.stricter)
        for group in promise.groups
        for name in group.labels
        if group.stricter
    }
