"""The closed set of metrics: name, kind, labels, unit and what an operator does about it.

A new metric is a diff in this file; mypy refuses a misspelt name. ``telemetry`` builds the
Prometheus objects from METRICS, and the table in the docs is generated from it.
"""

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["METRICS", "CounterName", "GaugeName", "HistogramName", "Metric"]

CounterName = Literal[
    "records_consumed",
    "results",
    "labels",
    "batches",
    "skipped",
    "commits",
    "rebalances",
    "inference_retries",
    "worker_restarts",
    "delivery_retries",
    "discarded",
]
HistogramName = Literal[
    "batch_items",
    "batch_tokens",
    "padding_ratio",
    "batch_wait_seconds",
    "inference_seconds",
    "delivery_seconds",
    "end_to_end_seconds",
    "confidence",
]
GaugeName = Literal[
    "in_flight_records",
    "in_flight_bytes",
    "assigned_partitions",
    "consumer_lag_records",
    "token_budget",
    "event_loop_lag_seconds",
    "seconds_since_progress",
    "worker_up",
    "drift_effect",
    "drift_p_value",
    "drifting",
]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as the outside sees it: ``streamlabel_<name>`` (counters end in ``_total``)."""

    kind: Literal["counter", "histogram", "gauge"]
    help: str
    advice: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0)

METRICS: Final[dict[CounterName | HistogramName | GaugeName, Metric]] = {
    "records_consumed": Metric(
        "counter",
        "Records read from the input topic.",
        "Flat while lag grows: see /livez.",
        ("topic",),
    ),
    "results": Metric(
        "counter",
        "Outcomes delivered, by route and first reason.",
        "A rising share of dead_letter or review: look at the reason.",
        ("route", "reason"),
    ),
    "labels": Metric(
        "counter", "Records by chosen label.", "A shift of the mix: drift or an attack.", ("label",)
    ),
    "batches": Metric("counter", "Batches classified.", "With records_consumed: mean batch size."),
    "skipped": Metric(
        "counter", "Records skipped by setting (empty texts).", "Ask the producer why.", ("reason",)
    ),
    "commits": Metric(
        "counter",
        "Offset commits by outcome.",
        "Failures: rebalances or broker trouble.",
        ("outcome",),
    ),
    "rebalances": Metric("counter", "Assignments changed.", "Often: raise session_timeout_ms."),
    "inference_retries": Metric(
        "counter", "Batches classified again, by cause.", "See the log for the cause.", ("cause",)
    ),
    "worker_restarts": Metric("counter", "Worker processes restarted.", "Look for out-of-memory."),
    "delivery_retries": Metric("counter", "Deliveries tried again.", "Broker trouble."),
    "discarded": Metric(
        "counter",
        "Late results dropped because their partition went away.",
        "Expected at rebalances; they are read again by the new owner.",
    ),
    "batch_items": Metric(
        "histogram", "Texts per batch.", "Always 1: the model is idle.", (), _COUNTS
    ),
    "batch_tokens": Metric(
        "histogram",
        "Padded tokens per batch.",
        "Far below the budget: the model is idle.",
        (),
        _COUNTS,
    ),
    "padding_ratio": Metric(
        "histogram",
        "Share of a batch that is padding.",
        "High: raise batching.max_in_flight_items so that similar lengths meet.",
        (),
        (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9),
    ),
    "batch_wait_seconds": Metric(
        "histogram", "Oldest text of a batch: read to taken.", "Grows: add processes.", (), _SECONDS
    ),
    "inference_seconds": Metric(
        "histogram", "Classifying one batch.", "Model speed.", (), _SECONDS
    ),
    "delivery_seconds": Metric(
        "histogram", "One delivery: sent to acknowledged.", "Broker speed.", (), _SECONDS
    ),
    "end_to_end_seconds": Metric(
        "histogram", "Event time to delivered.", "What your users wait.", (), _SECONDS
    ),
    "confidence": Metric(
        "histogram",
        "Confidence of the chosen label.",
        "A shift: drift; calibrate again.",
        (),
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0),
    ),
    "in_flight_records": Metric(
        "gauge", "Records read, not yet delivered.", "At the limit: add processes."
    ),
    "in_flight_bytes": Metric(
        "gauge", "Bytes of the records in flight.", "At the limit: large texts."
    ),
    "assigned_partitions": Metric(
        "gauge", "Partitions this process owns.", "0: more processes than partitions."
    ),
    "consumer_lag_records": Metric(
        "gauge",
        "Records behind the end of the partition.",
        "Grows: add processes.",
        ("topic", "partition"),
    ),
    "token_budget": Metric(
        "gauge", "Padded tokens a batch may have.", "Fell: the device ran out of memory."
    ),
    "event_loop_lag_seconds": Metric(
        "gauge", "How late the loop woke up.", "Above 1 s: report a bug."
    ),
    "seconds_since_progress": Metric(
        "gauge", "Since the last delivery, with work waiting.", "See /livez."
    ),
    "worker_up": Metric("gauge", "1 while the worker process answers.", "0 for long: see the log."),
    "drift_effect": Metric(
        "gauge",
        "Last window against the calibration: index of the label mix, distance of the others.",
        "Above drift.min_label_shift or drift.min_distance: see drifting.",
        ("feature",),
    ),
    "drift_p_value": Metric(
        "gauge",
        "Chance of such a difference without drift.",
        "Means little without drift_effect: large windows show the smallest differences.",
        ("feature",),
    ),
    "drifting": Metric(
        "gauge",
        "1 if the last window drifted.",
        "Look at what changed; label a sample and calibrate again.",
    ),
}
