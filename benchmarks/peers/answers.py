"""What every peer writes for a record; nothing here but the standard library."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["answer"]


def answer(
    record: Mapping[str, Any], scores: Sequence[Mapping[str, Any]], timestamp_ms: int
) -> dict[str, Any]:
    """Return the output of one record.

    Args:
        record: the input's value: id and text.
        scores: label and score of every label, in any order.
        timestamp_ms: the input's, from which its latency is counted.
    """
    best = max(scores, key=lambda each: each["score"])
    return {
        "id": record["id"],
        "label": best["label"],
        "confidence": best["score"],
        "source": {"timestamp_ms": timestamp_ms},
    }
