"""The times in outputs."""

from datetime import UTC, datetime
from typing import NamedTuple

import orjson

from streamlabel.models.core.values import value

__all__ = ["Timings", "WrittenTimings", "write_timings"]


@value
class Timings:
    """When a result was produced, and how long that took.

    Attributes:
        processed_at_ms: epoch milliseconds.
        queue_ms: from reading the record to the start of its batch.
        inference_ms: duration of its batch; 0 if it was not computed.
        cached: it is the result of an equal text that was computed before.
    """

    processed_at_ms: int
    queue_ms: float
    inference_ms: float
    cached: bool = False


class WrittenTimings(NamedTuple):
    """Timings as JSON.

    Attributes:
        of: what was written; None: nothing yet.
    """

    of: Timings | None
    processed_at: str
    timings_ms: orjson.Fragment


def write_timings(timings: Timings) -> WrittenTimings:
    """Write timings, rounded to microseconds."""
    durations = {"queue": round(timings.queue_ms, 3), "inference": round(timings.inference_ms, 3)}
    second, ms = divmod(timings.processed_at_ms, 1000)
    processed_at = f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"
    return WrittenTimings(timings, processed_at, orjson.Fragment(orjson.dumps(durations)))
