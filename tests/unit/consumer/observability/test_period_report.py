"""One line a period: its figures are those of the period, its number does not follow the load."""

import asyncio
import io
import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from streamlabel.config.settings import LoggingSettings
from streamlabel.consumer.observability.logs import configure_logging
from streamlabel.consumer.observability.period_report import PeriodReport, report_periods
from streamlabel.consumer.observability.telemetry import PrometheusMetrics
from tests.doubles import ManualClock, settle


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> PrometheusMetrics:
    return PrometheusMetrics(registry)


def one_batch(metrics: PrometheusMetrics, *, items: int = 4) -> None:
    metrics.increment("records_consumed", items, topic="texts")
    metrics.increment("batches")
    metrics.observe("batch_items", items)
    metrics.observe("batch_wait_seconds", 0.2)
    metrics.observe("inference_seconds", 0.1)
    metrics.increment("results", items - 3, route="label", reason="")
    metrics.increment("results", 1, route="copy", reason="audit")
    metrics.increment("results", 1, route="review", reason="low_confidence")
    metrics.increment("results", 1, route="dead_letter", reason="not_json")


def test_the_figures_are_those_of_the_period_by_reason(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    one_batch(metrics)
    report = PeriodReport(registry, now_s=0.0)
    one_batch(metrics)
    one_batch(metrics)
    metrics.increment("skipped", 5, reason="empty_text")
    metrics.increment("inference_retries", 1, cause="memory")
    metrics.set("consumer_lag_records", 7, topic="texts", partition="0")
    metrics.set("consumer_lag_records", 2, topic="texts", partition="1")
    metrics.set("in_flight_records", 3)
    assert report.end(now_s=4.0) == {
        "period_s": 4.0,
        "records": 8,
        "batches": 2,
        "records_per_s": 2.0,
        "labels": 4,
        "review": {"audit": 2, "low_confidence": 2},
        "dead_letters": {"not_json": 2},
        "skipped": {"empty_text": 5},
        "inference_retries": 1,
        "batch_items": 4.0,
        "queue_s": 0.2,
        "inference_s": 0.1,
        "in_flight": 3,
        "lag": 9,
    }


def test_idle_periods_are_silent_after_the_first(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    report = PeriodReport(registry, now_s=0.0)
    one_batch(metrics)
    assert report.end(now_s=10.0) is not None
    idle = report.end(now_s=20.0)
    assert idle is not None
    assert (idle["records"], idle["labels"], idle["lag"]) == (0, 0, 0)
    assert [report.end(now_s=30.0), report.end(now_s=40.0)] == [None, None]
    one_batch(metrics)
    assert report.end(now_s=50.0) is not None


def test_work_that_waits_is_reported_although_nothing_moves(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    report = PeriodReport(registry, now_s=0.0)
    metrics.set("consumer_lag_records", 7, topic="texts", partition="0")
    assert all(report.end(now_s=10.0 * n) for n in range(1, 5))


def lines_written(load: Callable[[PrometheusMetrics], None], *, period_s: float) -> list[str]:
    """Lines of a minute at INFO, in which ``load`` runs every second."""
    stream = io.StringIO()
    configure_logging(LoggingSettings(format="json"), environ={}, stream=stream)
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)

    async def minute() -> None:
        clock = ManualClock()
        reporting = asyncio.ensure_future(report_periods(registry, period_s=period_s, clock=clock))
        await settle()  # the first period begins
        for _ in range(60):
            load(metrics)
            await clock.advance(1.0)
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)

    asyncio.run(minute())
    return stream.getvalue().splitlines()


@settings(deadline=None, max_examples=30)
@given(batches=st.integers(0, 50), period_s=st.sampled_from([5.0, 10.0, 30.0]))
def test_lines_a_minute_do_not_depend_on_the_load(batches: int, period_s: float) -> None:
    def load(metrics: PrometheusMetrics) -> None:
        for _ in range(batches):
            one_batch(metrics)

    lines = lines_written(load, period_s=period_s)
    assert 0 < len(lines) <= 60 / period_s + 1  # and what is left of the last period
    figures = [json.loads(line) for line in lines]
    assert sum(line["records"] for line in figures) == 60 * 4 * batches
    assert {line["event"] for line in figures} == {"period"}


def test_zero_turns_the_line_off() -> None:
    assert lines_written(one_batch, period_s=0.0) == []
