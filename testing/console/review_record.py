"""A review record, as the service writes it."""

from typing import Any

__all__ = ["review"]


def review(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 any field
    """Return a review record; a change to ... leaves the field out."""
    fields: dict[str, Any] = {
        "schema": "streamlabel.review/v1",
        "id": "a",
        "label": "spam",
        "confidence": 0.6,
        "probabilities": {"spam": 0.6, "ham": 0.4},
        "margin": 0.2,
        "route": "review",
        "reasons": ["low_confidence"],
        "truncated": False,
        "model": {
            "name": "m",
            "backend": "encoder",
            "device": "cpu",
            "digest": "m1",
            "prompt_version": None,
            "calibration_id": "c1",
            "threshold_set_id": "t1",
            "deployment_id": "d1",
        },
        "source": {"topic": "texts", "partition": 1, "offset": 2, "timestamp_ms": 3_600_000},
        "metadata": {"thread": {"id": 7}},
        "processed_at": "2026-11-29T12:00:00.000Z",
        "timings_ms": {"queue": 1.0, "inference": 2.0},
        "threshold": 0.9,
        "text": "win now",
    }
    return {name: value for name, value in (fields | changes).items() if value is not ...}
