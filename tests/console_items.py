"""What tests of the review console share: review records as they are stored, and a time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from streamlabel.console.store.items import Arrival
from streamlabel.console.store.opening import SqlStore
from streamlabel.consumer.core.records import Position, TopicPartition
from streamlabel.consumer.output.verdict import VerdictSource

__all__ = ["NOW", "arrival", "filled", "later"]

NOW: Final = datetime(2026, 11, 29, 12, tzinfo=UTC)


def later(seconds: float) -> datetime:
    """Return NOW and some seconds."""
    return NOW + timedelta(seconds=seconds)


def arrival(number: int, **changes: Any) -> Arrival:  # noqa: ANN401 of any field
    """Return a review record; a smaller number is more urgent."""
    values: dict[str, Any] = {
        "review_id": f"r{number}",
        "record_id": f"r{number}",
        "task": None,
        "text": f"text number {number}",
        "model_labels": ("spam",),
        "confidence": 0.6,
        "probabilities": {"spam": 0.6, "ham": 0.4},
        "prediction_set": ("spam", "ham"),
        "threshold": 0.9,
        "reasons": ("low_confidence",),
        "review_probability": 1.0,
        "metadata": {"thread": "a"},
        "key": b"key",
        "deployment_id": "d1",
        "model_digest": "m1",
        "calibration_id": "c1",
        "threshold_set_id": "t1",
        "source": VerdictSource(topic="texts", partition=0, offset=number),
        "event_time_ms": 1_000 + number,
        "priority": -float(number),
        "near_key": f"near {number}",
    }
    return Arrival(**values | changes)


async def filled(store: SqlStore, arrivals: Sequence[Arrival], *, first: int = 0) -> None:
    """Store records as if they were at offsets from ``first`` on of the topic review."""
    partition = TopicPartition("review", 0)
    placed = [
        (Position("review", 0, offset), each) for offset, each in enumerate(arrivals, start=first)
    ]
    await store.arrive(
        placed, [], begin={partition: first}, end={partition: first + len(arrivals)}, now=NOW
    )
