"""The metrics of outcomes, and the log line of each dead letter."""

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import chain, compress
from operator import attrgetter
from typing import Final

import structlog

from streamlabel.consumer.core.ports import Metrics
from streamlabel.consumer.core.trace_context import trace_id
from streamlabel.consumer.output.outcome import Outcome, Outcomes

__all__ = ["count_outcomes"]

# Clocks of one network are seconds apart at most.
_AHEAD_S: Final = 5.0

# Without a step of Python for each outcome.
_COUNTED = attrgetter("route", "reason", "task", "stage", "label")
_CONFIDENCE = attrgetter("confidence")
_EVENT_TIME = attrgetter("event_time_ms")
_TRACE = attrgetter("trace_id")

_log = structlog.get_logger(__name__)


def count_outcomes(outcomes: Sequence[Outcomes], now_ms: int, metrics: Metrics) -> None:
    """Count delivered outcomes; one call per distinct value, because one per outcome is too slow.

    Each dead letter is logged with its position and reason, without content of the record.
    """
    each_outcome = list(chain.from_iterable(outcomes))
    results = Counter(map(_COUNTED, each_outcome))
    for (route, reason, task, stage, label), count in results.items():
        about = {"reason": reason, "task": task or "", "stage": stage or ""}
        if route == "skip":
            metrics.increment("skipped", count, reason=reason)
        else:
            metrics.increment("results", count, route=route, **about)
        if label is not None:
            metrics.increment("labels", count, label=label, task=task or "")
    if any(counted[0] == "dead_letter" for counted in results):
        for outcome in each_outcome:
            if outcome.route == "dead_letter":
                _log_dead_letter(outcome)
    _observe_confidences(each_outcome, {counted[2] for counted in results}, metrics)
    _observe_waits(each_outcome, now_ms, metrics)


def _observe_confidences(
    outcomes: Sequence[Outcome], tasks: Collection[str | None], metrics: Metrics
) -> None:
    for task in tasks:
        of_task = outcomes if len(tasks) == 1 else [each for each in outcomes if each.task == task]
        known = [value for value in map(_CONFIDENCE, of_task) if value is not None]
        if known:
            metrics.observe_all("confidence", known, task=task or "")


def _observe_waits(outcomes: Sequence[Outcome], now_ms: int, metrics: Metrics) -> None:
    waits_s = [(now_ms - event_ms) / 1000 for event_ms in map(_EVENT_TIME, outcomes)]
    ahead = 0
    if waits_s and min(waits_s) < 0:
        # Clocks differ between machines: a record from the future counts as no wait.
        ahead = sum(wait_s < -_AHEAD_S for wait_s in waits_s)
        waits_s = [max(wait_s, 0.0) for wait_s in waits_s]
    metrics.increment("future_records", ahead)
    traces = list(map(_TRACE, outcomes))
    if any(traces):  # few records are traced, and only these need a call each
        for wait_s, trace in zip(waits_s, traces, strict=True):
            if trace is not None:
                metrics.observe("end_to_end_seconds", wait_s, trace_id=trace)
        waits_s = list(compress(waits_s, [trace is None for trace in traces]))
    metrics.observe_all("end_to_end_seconds", waits_s)


def _log_dead_letter(outcome: Outcome) -> None:
    position, why = str(outcome.source.position), outcome.message
    about = {"task": outcome.task, "trace_id": trace_id(outcome.source.headers)}
    known = {name: found for name, found in about.items() if found is not None}
    _log.warning("dead_letter", position=position, reason=outcome.reason, why=why, **known)
