"""A verdict, for tests of what reads and writes them."""

from typing import Any

from streamlabel.consumer.output.verdict import VerdictMessage

__all__ = ["a_verdict"]


def a_verdict(**changes: Any) -> VerdictMessage:  # noqa: ANN401 any field
    """Return a correction from spam to ham."""
    fields: dict[str, Any] = {
        "review_id": "tone/r1",
        "id": "r1",
        "task": "tone",
        "action": "correct",
        "labels": ["ham"],
        "model_labels": ["spam"],
        "model_confidence": 0.6,
        "model_probabilities": {"spam": 0.6, "ham": 0.4},
        "saw_model_answer": True,
        "reviewer": "p-ann",
        "decided_at": "2026-11-29T12:00:00.250000Z",
        "duration_ms": 2_500,
        "reasons": ["low_confidence"],
        "review_probability": 0.25,
        "model_digest": "m1",
        "source": {"topic": "texts", "partition": 0, "offset": 7},
    }
    return VerdictMessage.model_validate(fields | changes)
