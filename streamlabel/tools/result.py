"""The result of one text, for programs that embed the service."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Result", "result_of"]


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one text.

    Attributes:
        route: ``label``: accepted; ``review``: for review; ``copy``: accepted and also for review
            (``routing.review: copy``, ``routing.audit_share``); ``dead_letter``: it could not be
            classified.
        label: the most probable label; None without a prediction.
        confidence: in [0, 1], the calibrated probability of ``label``; None without a prediction.
        probabilities: by label, in [0, 1]; empty without a prediction.
        reasons: of the review or the dead letter; empty for an accepted label.
        record: the complete output record as a JSON object: margin, model, timings; for a dead
            letter, ``reason`` and ``message``. docs/records.md describes its fields.
    """

    route: Literal["label", "review", "copy", "dead_letter"]
    label: str | None
    confidence: float | None
    probabilities: Mapping[str, float]
    reasons: tuple[str, ...]
    record: Mapping[str, Any]


def result_of(row: Mapping[str, Any]) -> Result:
    """Return the result that an output record describes."""
    is_dead = row["route"] == "dead_letter"
    return Result(
        route=row["route"],
        label=row.get("label"),
        confidence=row.get("confidence"),
        probabilities=row.get("probabilities") or {},
        reasons=(row["reason"],) if is_dead else tuple(row["reasons"]),
        record=row,
    )
