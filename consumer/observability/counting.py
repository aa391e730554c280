"""The metrics of outcomes, and the log line of each dead letter."""

from collections import Counter
from collections.abc import Sequence

import structlog

from streamlabel.consumer.core.ports import Metrics
from streamlabel.consumer.output.outcome import Outcome

__all__ = ["count_outcomes"]

_log = structlog.get_logger(__name__)


def count_outcomes(outcomes: Sequence[Outcome], now_ms: int, metrics: Metrics) -> None:
    """Count delivered outcomes; one call per distinct value, because one per outcome is too slow.

    Each dead letter is logged with its position and reason, without content of the record.
    """
    results: Counter[tuple[str, str]] = Counter()
    labels: Counter[str] = Counter()
    for outcome in outcomes:
        results[outcome.route, outcome.reason] += 1
        if outcome.route == "dead_letter":
            position, why = str(outcome.source.position), outcome.message
            _log.warning("dead_letter", position=position, reason=outcome.reason, why=why)
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
