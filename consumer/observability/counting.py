"""The metrics of outcomes, and the log line of each dead letter."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Final

import structlog

from streamlabel.consumer.core.ports import Metrics
from streamlabel.consumer.output.outcome import Outcomes

__all__ = ["count_outcomes"]

# Clocks of one network are seconds apart at most.
_AHEAD_MS: Final = 5000

_log = structlog.get_logger(__name__)


def count_outcomes(outcomes: Sequence[Outcomes], now_ms: int, metrics: Metrics) -> None:
    """Count delivered outcomes; one call per distinct value, because one per outcome is too slow.

    Each dead letter is logged with its position and reason, without content of the record.
    """
    results: Counter[tuple[str, str, str, str]] = Counter()
    labels: Counter[tuple[str, str]] = Counter()
    ahead = 0
    for outcome in chain.from_iterable(outcomes):
        task = outcome.task or ""
        results[outcome.route, outcome.reason, task, outcome.stage or ""] += 1
        if outcome.route == "dead_letter":
            position, why = str(outcome.source.position), outcome.message
            about = {} if outcome.task is None else {"task": outcome.task}
            _log.warning("dead_letter", position=position, reason=outcome.reason, why=why, **about)
        if outcome.label is not None:
            labels[outcome.label, task] += 1
        if outcome.confidence is not None:
            metrics.observe("confidence", outcome.confidence, task=task)
        # Clocks differ between machines: a record from the future counts as no wait.
        waited_ms = now_ms - outcome.event_time_ms
        metrics.observe("end_to_end_seconds", max(0, waited_ms) / 1000)
        ahead += waited_ms < -_AHEAD_MS
    metrics.increment("future_records", ahead)
    for (route, reason, task, stage), count in results.items():
        if route == "skip":
            metrics.increment("skipped", count, reason=reason)
        else:
            metrics.increment("results", count, route=route, reason=reason, task=task, stage=stage)
    for (label, task), count in labels.items():
        metrics.increment("labels", count, label=label, task=task)
