"""The metrics of outcomes, and the log line of each dead letter."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import Final

import structlog

from streamlabel.consumer.core.ports import Metrics
from streamlabel.consumer.output.outcome import Outcome, Outcomes

__all__ = ["count_outcomes"]

# Clocks of one network are seconds apart at most.
_AHEAD_S: Final = 5.0

_log = structlog.get_logger(__name__)


def count_outcomes(outcomes: Sequence[Outcomes], now_ms: int, metrics: Metrics) -> None:
    """Count delivered outcomes; one call per distinct value, because one per outcome is too slow.

    Each dead letter is logged with its position and reason, without content of the record.
    """
    results: dict[tuple[str, str, str, str, str | None], int] = defaultdict(int)
    confidences: dict[str, list[float]] = defaultdict(list)
    waits_s: list[float] = []
    now_s = now_ms / 1000
    ahead = 0
    for outcome in chain.from_iterable(outcomes):
        task = outcome.task or ""
        results[outcome.route, outcome.reason, task, outcome.stage or "", outcome.label] += 1
        if outcome.route == "dead_letter":
            _log_dead_letter(outcome)
        if outcome.confidence is not None:
            confidences[task].append(outcome.confidence)
        # Clocks differ between machines: a record from the future counts as no wait.
        wait_s = now_s - outcome.event_time_ms / 1000
        waits_s.append(wait_s if wait_s > 0 else 0.0)
        ahead += wait_s < -_AHEAD_S
    metrics.increment("future_records", ahead)
    metrics.observe_all("end_to_end_seconds", waits_s)
    for task, of_task in confidences.items():
        metrics.observe_all("confidence", of_task, task=task)
    for (route, reason, task, stage, label), count in results.items():
        if route == "skip":
            metrics.increment("skipped", count, reason=reason)
        else:
            metrics.increment("results", count, route=route, reason=reason, task=task, stage=stage)
        if label is not None:
            metrics.increment("labels", count, label=label, task=task)


def _log_dead_letter(outcome: Outcome) -> None:
    position, why = str(outcome.source.position), outcome.message
    about = {} if outcome.task is None else {"task": outcome.task}
    _log.warning("dead_letter", position=position, reason=outcome.reason, why=why, **about)
