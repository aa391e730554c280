"""The closed set of metrics: name, kind, labels, unit and advice for operators.

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
    "languages",
    "commits",
    "rebalances",
    "inference_retries",
    "worker_restarts",
    "delivery_retries",
    "discarded",
    "repeats",
    "swaps",
    "control_refused",
    "shadow",
    "future_records",
    "kafka_throttled_seconds",
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
    "consumer_lag_seconds",
    "records_behind_open_transaction",
    "open_transaction_seconds",
    "token_budget",
    "token_budget_limit",
    "event_loop_lag_seconds",
    "seconds_since_progress",
    "worker_up",
    "kafka_connected",
    "drift_effect",
    "drift_p_value",
    "drifting",
    "promise_audits",
    "promise_evidence",
    "promise_upper_bound",
    "promise_alarm",
    "audits_open",
    "audits_oldest_seconds",
    "audits_erased",
]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as it is exported: ``streamlabel_<name>`` (counters end in ``_total``).

    Attributes:
        values: all that its first label can have: their series exist from the start, so that the
            first increment is a change and not a new series, of which no rate shows anything.
        of: who exports it; the service has no series of the others.
    """

    kind: Literal["counter", "histogram", "gauge"]
    help: str
    advice: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    values: tuple[str, ...] = ()
    of: Literal["service", "monitor", "console"] = "service"


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0)

METRICS: Final[dict[CounterName | HistogramName | GaugeName, Metric]] = {
    "records_consumed": Metric(
        "counter",
        "Records read from the input topic.",
        "If it is flat while lag grows, see /livez.",
        ("topic",),
    ),
    "results": Metric(
        "counter",
        "Outcomes delivered, by route and first reason.",
        "If the share of dead_letter or review rises, look at the reason label.",
        ("route", "reason", "task", "stage"),
    ),
    "labels": Metric(
        "counter",
        "Records by predicted label.",
        "A change of the distribution: drift or an attack.",
        ("label", "task"),
    ),
    "batches": Metric(
        "counter",
        "Batches classified.",
        "Divide records_consumed by it for the mean batch size.",
        ("deployment",),
    ),
    "repeats": Metric(
        "counter",
        "Records with the result of an identical text, which was not classified again.",
        "Divided by records_consumed: the hit rate. If it is low, see repeats.max_items.",
        ("deployment",),
    ),
    "swaps": Metric(
        "counter",
        "Swaps of models by outcome: swapped, refused.",
        "If one was refused, see the log: the earlier models keep working.",
        ("outcome",),
        values=("swapped", "refused"),
    ),
    "control_refused": Metric(
        "counter",
        "Records of the control topic that were not used: cut, of another version, not signed.",
        "If it rises, find out who writes to the topic.",
    ),
    "shadow": Metric(
        "counter",
        "Records of the shadow model by outcome: classified, failed, dropped.",
        "If many are dropped, lower shadow.share.",
        ("outcome",),
        values=("classified", "failed", "dropped"),
    ),
    "skipped": Metric(
        "counter",
        "Records skipped because of input.empty_text: skip, or because no task applies to them.",
        "empty_text: find out why the producer sends empty texts. no_task: see the conditions.",
        ("reason",),
    ),
    "kafka_throttled_seconds": Metric(
        "counter",
        "Time for which brokers muted a connection because a quota was exceeded, by role of the"
        " brokers.",
        "If it rises with the lag, raise the quota, or send fewer bytes (kafka.compression).",
        ("role",),
    ),
    "languages": Metric(
        "counter",
        "Texts by detected language, where a condition of a task names one; und: undetermined.",
        "If many are und, name und in a condition, so that no text evades all tasks.",
        ("language",),
    ),
    "commits": Metric(
        "counter",
        "Offset commits by outcome.",
        "Failures: rebalances or broker problems.",
        ("outcome",),
        values=("ok", "failed"),
    ),
    "rebalances": Metric(
        "counter",
        "Changes of the assigned partitions.",
        "If frequent, raise kafka.session_timeout_ms.",
    ),
    "inference_retries": Metric(
        "counter",
        "Retries of a batch, by cause.",
        "See the log for the cause.",
        ("cause", "deployment"),
        values=("error", "memory", "split", "worker"),
    ),
    "worker_restarts": Metric(
        "counter",
        "Restarts of the worker process.",
        "Check for out-of-memory kills.",
        ("deployment",),
    ),
    "delivery_retries": Metric("counter", "Retries of a delivery.", "Broker or network problems."),
    "discarded": Metric(
        "counter",
        "Results dropped because their partition was revoked.",
        "Expected at rebalances; the new owner reads the records again.",
    ),
    "future_records": Metric(
        "counter",
        "Records whose time is more than 5 s ahead of the clock of this machine.",
        "If it rises, compare the clocks of this machine, the producers and the brokers.",
    ),
    "batch_items": Metric(
        "histogram",
        "Texts per batch.",
        "If it is always 1, the model is underused.",
        ("deployment",),
        _COUNTS,
    ),
    "batch_tokens": Metric(
        "histogram",
        "Padded tokens per batch.",
        "Below the token budget while texts do not queue; far below it with a lag, batches are"
        " limited by batching.max_batch_items.",
        ("deployment",),
        _COUNTS,
    ),
    "padding_ratio": Metric(
        "histogram",
        "Fraction of a batch's tokens that is padding.",
        "If high, raise batching.max_in_flight_items so that more texts of similar"
        " length are available.",
        ("deployment",),
        (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9),
    ),
    "batch_wait_seconds": Metric(
        "histogram",
        "Time from reading the oldest text of a batch to the start of the batch.",
        "If it grows, add processes.",
        ("deployment",),
        _SECONDS,
    ),
    "inference_seconds": Metric(
        "histogram",
        "Time to classify one batch.",
        "Shows the speed of the model.",
        ("deployment",),
        _SECONDS,
    ),
    "delivery_seconds": Metric(
        "histogram",
        "Time from sending a delivery to its acknowledgement.",
        "Shows the speed of the brokers.",
        (),
        _SECONDS,
    ),
    "end_to_end_seconds": Metric(
        "histogram",
        "Time from the event time of a record to its delivery.",
        "This is the latency that users see.",
        (),
        _SECONDS,
    ),
    "confidence": Metric(
        "histogram",
        "Confidence of the predicted label.",
        "A change of the distribution: drift. Calibrate again.",
        ("task",),
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0),
    ),
    "in_flight_records": Metric(
        "gauge",
        "Records in flight: read and not yet delivered.",
        "If it stays at the limit, or at twice the limit, add processes.",
    ),
    "in_flight_bytes": Metric(
        "gauge",
        "Bytes of the records in flight.",
        "If it stays at the limit, texts are large: raise batching.max_in_flight_bytes.",
    ),
    "assigned_partitions": Metric(
        "gauge",
        "Partitions assigned to this process.",
        "0: there are more processes than partitions.",
    ),
    "consumer_lag_records": Metric(
        "gauge",
        "Readable records of the partition that are not yet processed.",
        "If it grows, add processes.",
        ("topic", "partition"),
    ),
    "consumer_lag_seconds": Metric(
        "gauge",
        "Age of the oldest record of the partition that was not yet delivered; 0 if there is none.",
        "The lag that readers of the labels feel. If it grows, add processes.",
        ("topic", "partition"),
    ),
    "records_behind_open_transaction": Metric(
        "gauge",
        "Offsets behind an open transaction on the input, which cannot be read yet;"
        " not part of the lag.",
        "It may be above 0 all the time; whether one transaction stays open, says"
        " open_transaction_seconds.",
        ("topic", "partition"),
    ),
    "open_transaction_seconds": Metric(
        "gauge",
        "How long the oldest open transaction on the input has been seen open; 0 without one.",
        "Producers that write in transactions all the time show seconds. If it grows, find the"
        " producer: see input_transaction_open in the log.",
        ("topic", "partition"),
    ),
    "token_budget": Metric(
        "gauge",
        "Token budget: maximum padded tokens of a batch.",
        "A drop below token_budget_limit means that the device ran out of memory.",
        ("deployment",),
    ),
    "token_budget_limit": Metric(
        "gauge",
        "Largest token budget: batching.max_batch_tokens, or what the model proposes.",
        "If token_budget stays below it, set batching.max_batch_tokens to token_budget.",
        ("deployment",),
    ),
    "event_loop_lag_seconds": Metric(
        "gauge", "Delay of the event loop.", "If above 1 s, report a bug."
    ),
    "seconds_since_progress": Metric(
        "gauge", "Time since the last delivery while records are waiting.", "See /livez."
    ),
    "worker_up": Metric(
        "gauge",
        "1 while the worker process answers the health check that is sent every 2 s; 0 as soon as"
        " it has ended.",
        "If it stays 0, see the log.",
        ("deployment",),
    ),
    "kafka_connected": Metric(
        "gauge",
        "1 while the brokers answer: the ones read from (consumer), the group's"
        " coordinator (coordinator), the ones written to (producer). A role without a"
        " broker at present is absent.",
        "0: check network, brokers and permissions; see broker_lost in the log.",
        ("role",),
    ),
    "drift_effect": Metric(
        "gauge",
        "Difference of the last window from the calibration data: population"
        " stability index of the labels, Kolmogorov-Smirnov distance of the other"
        " features.",
        "Drift needs more than drift.min_label_shift or drift.min_distance; see"
        " streamlabel_drifting.",
        ("feature", "deployment"),
    ),
    "drift_p_value": Metric(
        "gauge",
        "Probability of a difference this large without drift (p-value).",
        "Interpret it together with drift_effect: in a large window even a small"
        " difference is significant.",
        ("feature", "deployment"),
    ),
    "drifting": Metric(
        "gauge",
        "1 if drift was detected in the last window.",
        "Find out what changed; label a sample of recent texts and calibrate again.",
        ("deployment",),
    ),
    "promise_audits": Metric(
        "gauge",
        "Decided audits of the present deployment, of all accepted records (label empty), and by"
        " predicted label. Of `streamlabel monitor`.",
        "If it does not grow, raise routing.audit_share, or find out why audits are not decided.",
        ("label", "task"),
        of="monitor",
    ),
    "promise_evidence": Metric(
        "gauge",
        "Evidence that accepted labels are wrong more often than the target error, as a logarithm"
        " to base 10: 2 is 100 to 1. Of `streamlabel monitor`.",
        "At 1.3 (for all labels, at a confidence of 95 %) there is an alarm, see promise_alarm.",
        ("label", "task"),
        of="monitor",
    ),
    "promise_upper_bound": Metric(
        "gauge",
        "Upper bound of the error rate of accepted labels (95 %), valid at all times together. Of"
        " `streamlabel monitor`.",
        "Below the target error: the audits alone prove it again.",
        ("label", "task"),
        of="monitor",
    ),
    "promise_alarm": Metric(
        "gauge",
        "1 after the evidence has reached its limit, until thresholds, calibration or deployment"
        " change. Of `streamlabel monitor`.",
        "Thresholds must become stricter, see --tighten; then find out what changed.",
        ("label", "task"),
        of="monitor",
    ),
    "audits_open": Metric(
        "gauge",
        "Audits that nobody has decided: in_time, or overdue, which is older than"
        " console.audit_overdue_h. Of `streamlabel console`.",
        "Overdue ones have to be decided: without their verdicts the target error is not checked.",
        ("age", "task"),
        of="console",
    ),
    "audits_oldest_seconds": Metric(
        "gauge",
        "Age of the oldest audit that nobody has decided, since its arrival in the console; 0"
        " without one. Of `streamlabel console`.",
        "If it grows although others are decided, some audits are never decided, which biases the"
        " error rate: let leads decide the oldest.",
        ("task",),
        of="console",
    ),
    "audits_erased": Metric(
        "gauge",
        "Audits in the database whose text was erased before anybody decided. Of `streamlabel"
        " console`.",
        "They are missing in the error rate: decide audits before console.retention.open_days.",
        ("task",),
        of="console",
    ),
}
