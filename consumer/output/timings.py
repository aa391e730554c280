"""The times in outputs."""

from streamlabel.models.core.values import value

__all__ = ["Timings"]


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
