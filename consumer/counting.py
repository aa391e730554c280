"""What is counted about batches and outcomes, and the one log line a batch gets."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import structlog

from streamlabel.consumer.batching import Batch
from streamlabel.consumer.outcomes import Outcome
from streamlabel.consumer.ports import Metrics

__all__ = ["count_batch", "count_outcomes"]

_log = structlog.get_logger(__name__)


def count_batch(
    batch: Batch[Any],
    outcomes: Sequence[Outcome],
    *,
    queue_s: float,
    inference_s: float,
    metrics: Metrics,
) -> None:
    """Count one classified batch and log it, without a word of its texts."""
    metrics.increment("batches")
    metrics.observe("batch_items", len(batch.items))
    metrics.observe("batch_tokens", batch.padded_tokens)
    metrics.observe("padding_ratio", 1 - batch.tokens / batch.padded_tokens)
    metrics.observe("batch_wait_seconds", queue_s)
    metrics.observe("inference_seconds", inference_s)
    routes = Counter(outcome.route for outcome in outcomes)
    _log.info(
        "batch_classified",
        items=len(batch.items),
        padded_tokens=batch.padded_tokens,
        tokens=batch.tokens,
        queue_s=round(queue_s, 4),
        inference_s=round(inference_s, 4),
        review=routes["review"] + routes["copy"],
        dead_letter=routes["dead_letter"],
    )


def count_outcomes(outcomes: Sequence[Outcome], now_ms: int, metrics: Metrics) -> None:
    """Count what was delivered; once per distinct value, because counting each costs too much."""
    results: Counter[tuple[str, str]] = Counter()
    labels: Counter[str] = Counter()
    for outcome in outcomes:
        results[outcome.route, outcome.reason] += 1
        if outcome.label is not None:
            labels[outcome.label] += 1
        if outcome.confidence is not None:
            metrics.observe("confidence", outcome.confidence)
        # Clocks differ between machines: a record from the future counts as no wait.
        metrics.observe("end_to_end_seconds", max(0, now_ms - outcome.event_time_ms) / 1000)
    for (route, reason), count in results.items():
        if route == "skip":
            metrics.increment("skipped", count, reason=reason)
        else:
            metrics.increment("results", count, route=route, reason=reason)
    for label, count in labels.items():
        metrics.increment("labels", count, label=label)
