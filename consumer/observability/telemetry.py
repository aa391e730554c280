"""The Prometheus objects of the closed set of metrics in ``core.metric_names``."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from types import MappingProxyType
from typing import Final, Generic, Never, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Info,
    disable_created_metrics,
)

from streamlabel.consumer.core.metric_names import (
    METRICS,
    CounterName,
    GaugeName,
    HistogramName,
    Metric,
)
from streamlabel.consumer.core.ports import Clock, Metrics
from streamlabel.consumer.observability.bulk_histogram import BulkHistogram

__all__ = [
    "MAX_SERIES",
    "OTHER",
    "NullMetrics",
    "PrometheusMetrics",
    "watch_loop_lag",
]

# Maximum series per metric: enough for hundreds of labels and partitions. A bug that uses ids as
# label values cannot overload the monitoring system.
MAX_SERIES: Final = 1000

# The value of every label of a series beyond MAX_SERIES.
OTHER: Final = "other"

_LAG_INTERVAL_S: Final = 0.5
# 30 samples: a scrape every 15 s sees every stall.
_LAG_SAMPLES: Final = 30

# Labels that only a service with several models or tasks has.
_SEVERAL: Final = frozenset({"deployment", "task", "stage"})

_Child = TypeVar("_Child", Counter, Gauge, BulkHistogram)


class PrometheusMetrics:
    """Implements ``ports.Metrics`` on a registry of its own.

    Every name of the service in ``core.metric_names`` without labels, or with labels of which all
    values are known, exists from the start: a rate over a counter that has not moved is 0 and not
    absent, and the first increment counts. Label children are kept: a call is two
    dictionary look-ups and an addition. Safe from any thread.

    Args:
        registry: where the metrics are registered; what ``/metrics`` serves.
        build: values of ``streamlabel_build_info``; see ``describe_build``.
        several: the labels of a service with several models or tasks, ``deployment``, ``task`` and
            ``stage``, with their values. Metrics have no such label that is not in it.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        build: Mapping[str, str] | None = None,
        several: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        # Disables an extra series for each counter and histogram: the time of its creation.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # takes nothing, returns None
        self._counters: dict[str, _Family[Counter]] = {}
        self._gauges: dict[str, _Family[Gauge]] = {}
        self._histograms: dict[str, _Family[BulkHistogram]] = {}
        for name, metric in METRICS.items():
            if metric.of == "service":
                self._register(name, metric, registry, several)
        self._build = Info(
            "streamlabel_build", "Version information: version, model.", registry=registry
        )
        self.describe_build(build or {})

    def _register(
        self,
        name: str,
        metric: Metric,
        registry: CollectorRegistry,
        several: Mapping[str, Sequence[str]],
    ) -> None:
        full_name = f"streamlabel_{name}"
        labels = tuple(each for each in metric.labels if each in several or each not in _SEVERAL)
        if metric.kind == "counter":
            counter = Counter(full_name, metric.help, labels, registry=registry)
            first = {metric.labels[0]: metric.values} if metric.values else {}
            self._counters[name] = _Family(name, counter, labels, {**several, **first})
        elif metric.kind == "gauge":
            gauge = Gauge(full_name, metric.help, labels, registry=registry)
            self._gauges[name] = _Family(name, gauge, labels, several)
        else:
            histogram = BulkHistogram(
                full_name, metric.help, labels, buckets=metric.buckets, registry=registry
            )
            self._histograms[name] = _Family(name, histogram, labels, several)

    def describe_build(self, build: Mapping[str, str]) -> None:
        """Replace the values of ``streamlabel_build_info``, once the model is loaded."""
        self._build.info(dict(build))

    def increment(self, name: CounterName, amount: float = 1, **labels: str) -> None:
        """Add to a counter; ``amount`` >= 0."""
        self._counters[name].child(labels).inc(amount)

    def observe(
        self, name: HistogramName, value: float, *, trace_id: str | None = None, **labels: str
    ) -> None:
        """Put one value into a histogram, with the trace that it is an example of."""
        example = None if trace_id is None else {"trace_id": trace_id}
        self._histograms[name].child(labels).observe(value, example)

    def observe_all(self, name: HistogramName, values: Sequence[float], **labels: str) -> None:
        """Put several values into a histogram."""
        self._histograms[name].child(labels).observe_all(values)

    def set(self, name: GaugeName, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._gauges[name].child(labels).set(value)

    def forget(self, name: GaugeName) -> None:
        """Drop every series of a gauge with labels, because partitions were revoked."""
        self._gauges[name].clear()


class _Family(Generic[_Child]):
    """One metric and its label children, kept by label values."""

    def __init__(
        self,
        name: str,
        parent: _Child,
        labels: tuple[str, ...],
        known: Mapping[str, Sequence[str]],
    ) -> None:
        self._name = name
        self._parent: _Child = parent
        self._labels = labels
        self._left_out = _SEVERAL - set(labels)
        self._children: dict[tuple[str, ...], _Child] = {}
        if labels and all(label in known for label in labels):
            for values in product(*(known[label] for label in labels)):
                self._new_child(values)

    def child(self, labels: Mapping[str, str]) -> _Child:
        if not self._labels and labels.keys() <= self._left_out:
            return self._parent
        try:
            values = tuple([labels[label] for label in self._labels])
        except KeyError:
            values = ()
        if not values or len(values) < len(labels.keys() - self._left_out):
            raise AssertionError(
                f"{self._name} has the labels {self._labels}, got {tuple(labels)}. This is a bug."
            )
        known = self._children.get(values)
        return known if known is not None else self._new_child(values)

    def _new_child(self, values: tuple[str, ...]) -> _Child:
        if len(self._children) >= MAX_SERIES:  # not stored, or the dictionary would grow instead
            return self._parent.labels(*[OTHER] * len(values))
        child = self._parent.labels(*values)
        self._children[values] = child
        return child

    def clear(self) -> None:
        self._children.clear()
        self._parent.clear()


class NullMetrics:
    """Implements ``ports.Metrics`` and counts nothing: for commands that serve no metrics."""

    def increment(self, name: CounterName, amount: float = 1, **labels: str) -> None:
        """Do nothing."""

    def observe(
        self, name: HistogramName, value: float, *, trace_id: str | None = None, **labels: str
    ) -> None:
        """Do nothing."""

    def observe_all(self, name: HistogramName, values: Sequence[float], **labels: str) -> None:
        """Do nothing."""

    def set(self, name: GaugeName, value: float, **labels: str) -> None:
        """Do nothing."""


async def watch_loop_lag(
    clock: Clock, metrics: Metrics, *, seen: Callable[[float], None] | None = None
) -> Never:
    """Measure how late the event loop wakes up, until cancelled.

    Reports the worst of the last 15 s, twice a second: to the gauge ``event_loop_lag_seconds``,
    and to ``seen`` for ``/livez``. A late loop means that something blocks it, and a blocked loop
    sends no heartbeats.
    """
    recent: deque[float] = deque(maxlen=_LAG_SAMPLES)
    while True:
        due_s = clock.now_s() + _LAG_INTERVAL_S
        await clock.sleep(_LAG_INTERVAL_S)
        recent.append(max(0.0, clock.now_s() - due_s))
        worst_s = max(recent)
        metrics.set("event_loop_lag_seconds", worst_s)
        if seen is not None:
            seen(worst_s)
