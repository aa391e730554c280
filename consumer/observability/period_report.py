"""Logs one line per period with figures from the metrics.

The totals of the metrics are read once per period, so the line costs nothing per record, and length
and number of lines do not depend on the load.
"""

from collections.abc import Mapping
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from streamlabel.consumer.core.ports import Clock

__all__ = ["PeriodReport", "report_periods"]

_log = structlog.get_logger(__name__)

# Mean over a period: (field, histogram).
_MEANS: Final = (
    ("batch_items", "batch_items"),
    ("queue_s", "batch_wait_seconds"),
    ("inference_s", "inference_seconds"),
    ("delivery_s", "delivery_seconds"),
    ("end_to_end_s", "end_to_end_seconds"),
)
# Sum over a period, of all labels: (field, counter).
_SUMS: Final = (
    ("records", "records_consumed"),
    ("batches", "batches"),
    ("inference_retries", "inference_retries"),
    ("delivery_retries", "delivery_retries"),
    ("worker_restarts", "worker_restarts"),
)
# As they are at the end of a period.
_GAUGES: Final = ("in_flight_records", "consumer_lag_records")

_Key = tuple[str, tuple[tuple[str, str], ...]]


async def report_periods(registry: CollectorRegistry, *, period_s: float, clock: Clock) -> None:
    """Log the figures of each period until cancelled, then those of the last, shorter one.

    Args:
        registry: the one of ``PrometheusMetrics``.
        period_s: 0: log nothing.
        clock: measures it.
    """
    if not period_s:
        return
    report = PeriodReport(registry, now_s=clock.now_s())
    try:
        while True:
            await clock.sleep(period_s)
            _log_figures(report.end(now_s=clock.now_s()))
    finally:
        _log_figures(report.end(now_s=clock.now_s(), is_last=True))


def _log_figures(figures: Mapping[str, object] | None) -> None:
    if figures is not None:
        _log.info("period", **figures)


class PeriodReport:
    """Turns the totals of a registry into the figures of a period.

    Args:
        registry: the one of ``PrometheusMetrics``.
        now_s: when the first period begins, in monotonic seconds.
    """

    def __init__(self, registry: CollectorRegistry, *, now_s: float) -> None:
        names = [f"streamlabel_{name}_total" for _, name in _SUMS]
        names += ["streamlabel_results_total", "streamlabel_skipped_total"]
        for _, name in _MEANS:
            names += [f"streamlabel_{name}_sum", f"streamlabel_{name}_count"]
        names += [f"streamlabel_{name}" for name in _GAUGES]
        self._registry = registry.restricted_registry(names)
        self._began_s = now_s
        self._before = self._totals()
        self._was_idle = False

    def end(self, *, now_s: float, is_last: bool = False) -> dict[str, object] | None:
        """End the period and return its figures; None if it and the one before were idle.

        For an idle last period it returns None.

        Counts are of the period, times are its means, ``lag`` and ``in_flight`` are as last seen.
        Outcomes are counted by their first reason. Zero counts are left out, except for the most
        important figures.
        """
        totals = self._totals()
        moved = {key: value - self._before.get(key, 0.0) for key, value in totals.items()}
        period_s = now_s - self._began_s
        self._before, self._began_s = totals, now_s
        in_flight = _summed(totals, "in_flight_records")
        lag = _summed(totals, "consumer_lag_records")
        counts = {field: _summed(moved, f"{name}_total") for field, name in _SUMS}
        outcomes = _outcomes(moved)
        is_idle = not any((in_flight, lag, *counts.values(), *outcomes.values()))
        if is_idle and (self._was_idle or is_last):
            return None
        self._was_idle = is_idle
        always = {"records": counts.pop("records"), "batches": counts.pop("batches")}
        return {
            "period_s": round(period_s, 1),
            **always,
            "records_per_s": round(always["records"] / period_s, 1) if period_s > 0 else 0.0,
            **outcomes,
            **{field: count for field, count in counts.items() if count},
            **_means(moved),
            "in_flight": in_flight,
            "lag": lag,
        }

    def _totals(self) -> dict[_Key, float]:
        return {
            (sample.name.removeprefix("streamlabel_"), tuple(sorted(sample.labels.items()))): (
                sample.value
            )
            for family in self._registry.collect()
            for sample in family.samples
        }


def _summed(totals: Mapping[_Key, float], name: str) -> int:
    return round(_sum_of(totals, name))


def _sum_of(totals: Mapping[_Key, float], name: str) -> float:
    return sum(value for (each, _), value in totals.items() if each == name)


def _means(moved: Mapping[_Key, float]) -> dict[str, float]:
    means = {}
    for field, name in _MEANS:
        count = _sum_of(moved, f"{name}_count")
        if count:
            means[field] = round(_sum_of(moved, f"{name}_sum") / count, 4)
    return means


def _outcomes(moved: Mapping[_Key, float]) -> dict[str, object]:
    """Return labels, and review records, dead letters and skipped ones by reason.

    A copy is a label and a review record.
    """
    labels = 0
    by_reason: dict[str, dict[str, int]] = {"review": {}, "dead_letters": {}, "skipped": {}}
    for (name, pairs), value in moved.items():
        given = dict(pairs)
        count, reason = round(value), given.get("reason", "")
        if not count:
            continue
        if name == "skipped_total":
            by_reason["skipped"][reason] = count
        elif name == "results_total":
            route = given["route"]
            labels += count if route in {"label", "copy"} else 0
            if route in {"review", "copy"}:
                seen = by_reason["review"].get(reason, 0)
                by_reason["review"][reason] = seen + count
            elif route == "dead_letter":
                seen = by_reason["dead_letters"].get(reason, 0)
                by_reason["dead_letters"][reason] = seen + count
    return {"labels": labels, **{kind: counts for kind, counts in by_reason.items() if counts}}
