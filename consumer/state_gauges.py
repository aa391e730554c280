"""Updates the gauges of waiting records, and the state of the probes."""

from collections.abc import Mapping
from typing import Final, Never

import structlog

from streamlabel.consumer.core.ports import Clock, RecordSource
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.observability.health import Health
from streamlabel.consumer.observability.open_transactions import OpenTransactions
from streamlabel.consumer.observability.telemetry import PrometheusMetrics
from streamlabel.consumer.pipeline import Pipeline

__all__ = ["observe"]

_log = structlog.get_logger(__name__)

_INTERVAL_S: Final = 1.0


async def observe(
    pipeline: Pipeline,
    source: RecordSource,
    *,
    health: Health,
    metrics: PrometheusMetrics,
    clock: Clock,
) -> Never:
    """Update once a second, until cancelled."""
    transactions = OpenTransactions()
    while True:
        now_s = clock.now_s()
        has_joined = pipeline.assignment.has_joined
        lag = source.lag() if has_joined else {}
        metrics.forget("consumer_lag_records")  # of revoked partitions
        for (topic, partition), records in lag.items():
            metrics.set("consumer_lag_records", records, topic=topic, partition=str(partition))
        _report_ages(pipeline, lag, metrics, now_ms=clock.epoch_ms())
        health.work(waiting=pipeline.in_flight.items > 0 or any(lag.values()), now_s=now_s)
        health.progressed(pipeline.last_progress_s)
        if has_joined:
            health.assigned(len(pipeline.assignment))
        metrics.set("in_flight_records", pipeline.in_flight.items)
        metrics.set("in_flight_bytes", pipeline.in_flight.size_bytes)
        metrics.set("seconds_since_progress", health.stalled_s(now_s))
        _report_open_transactions(
            source if has_joined else None, transactions, metrics, now_s=now_s
        )
        await clock.sleep(_INTERVAL_S)


def _report_ages(
    pipeline: Pipeline,
    lag: Mapping[TopicPartition, int],
    metrics: PrometheusMetrics,
    *,
    now_ms: int,
) -> None:
    metrics.forget("consumer_lag_seconds")
    for partition, delivery in pipeline.assignment.deliveries.items():
        age_ms = delivery.age_ms(now_ms, lag.get(partition, 0))
        if age_ms is not None:
            metrics.set(
                "consumer_lag_seconds",
                age_ms / 1000,
                topic=partition.topic,
                partition=str(partition.partition),
            )


def _report_open_transactions(
    source: RecordSource | None,
    transactions: OpenTransactions,
    metrics: PrometheusMetrics,
    *,
    now_s: float,
) -> None:
    held = {} if source is None else source.held_back()
    news = transactions.saw(held, now_s=now_s)
    metrics.forget("records_behind_open_transaction")
    metrics.forget("open_transaction_seconds")
    for at, each in held.items():
        place = {"topic": at.topic, "partition": str(at.partition)}
        metrics.set("records_behind_open_transaction", each.offsets, **place)
        metrics.set("open_transaction_seconds", transactions.open_s(at, now_s=now_s), **place)
    for stuck in news:
        tell = _log.warning if stuck.offsets else _log.info
        tell(
            "input_transaction_open" if stuck.offsets else "input_transaction_ended",
            partition=str(stuck.partition),
            first_offset=stuck.first_offset,
            offsets=stuck.offsets,
            open_s=round(stuck.open_s, 1),
        )
