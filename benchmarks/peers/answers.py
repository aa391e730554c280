"""The output of every peer for a record; uses the standard library only."""

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
        timestamp_ms: of the input, the start of its latency.
    """
    best = max(scores, key=lambda each: each["score"])
    return {
        "id": record["id"],
        "label": best["label"],
        "confidence": best["score"],
        "source": {"timestamp_ms": timestamp_ms},
    }
