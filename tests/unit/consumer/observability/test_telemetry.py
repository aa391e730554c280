"""Telemetry: every name exists, labels are bounded, a wrong label is a bug, the loop is watched."""

import asyncio

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from streamlabel.consumer.core.metric_names import METRICS
from streamlabel.consumer.observability import telemetry
from streamlabel.consumer.observability.telemetry import (
    MAX_SERIES,
    OTHER,
    NullMetrics,
    PrometheusMetrics,
    watch_loop_lag,
)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> PrometheusMetrics:
    return PrometheusMetrics(registry, build={"version": "1.2.3", "model": "m", "device": "cpu"})


def series(registry: CollectorRegistry, name: str) -> list[dict[str, str]]:
    return [
        sample.labels
        for family in registry.collect()
        for sample in family.samples
        if sample.name == name
    ]


def test_every_name_of_the_service_is_served_with_its_help_and_no_other(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    page = generate_latest(registry).decode()
    for name, metric in METRICS.items():
        full = f"streamlabel_{name}" + ("_total" if metric.kind == "counter" else "")
        if metric.of != "service":  # a zero of ours would hide the true value
            assert full not in page
            continue
        assert f"# HELP {full} {metric.help}" in page
        assert f"# TYPE {full} {metric.kind}" in page


def test_a_counter_without_labels_starts_at_zero(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    assert registry.get_sample_value("streamlabel_batches_total") == 0.0


@pytest.mark.parametrize("name", [name for name, each in METRICS.items() if each.values])
def test_a_counter_whose_label_has_known_values_starts_at_zero_for_each(
    name: str, registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    """Or its first increment would be a new series, of which increase() shows nothing."""
    known = METRICS[name]  # type: ignore[index]  # a name of the table
    found = {
        each[known.labels[0]]: registry.get_sample_value(f"streamlabel_{name}_total", each)
        for each in series(registry, f"streamlabel_{name}_total")
    }
    assert found == dict.fromkeys(known.values, 0.0)


def test_known_values_are_combined_with_the_deployments_of_a_service_with_several() -> None:
    registry = CollectorRegistry()
    PrometheusMetrics(registry, several={"deployment": ("fast", "slow"), "task": (), "stage": ()})
    found = series(registry, "streamlabel_inference_retries_total")
    causes = METRICS["inference_retries"].values
    assert len(found) == 2 * len(causes)
    assert {each["deployment"] for each in found} == {"fast", "slow"}


def test_counters_gauges_and_histograms_hold_what_was_given(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    metrics.increment("results", 3, route="review", reason="low_margin")
    metrics.increment("results", route="review", reason="low_margin")
    metrics.set("consumer_lag_records", 7, topic="texts", partition="1")
    metrics.observe("confidence", 0.95)
    at = registry.get_sample_value
    assert at("streamlabel_results_total", {"route": "review", "reason": "low_margin"}) == 4
    assert at("streamlabel_consumer_lag_records", {"topic": "texts", "partition": "1"}) == 7
    assert at("streamlabel_confidence_bucket", {"le": "0.9"}) == 0
    assert at("streamlabel_confidence_bucket", {"le": "0.95"}) == 1


def test_the_order_of_label_arguments_does_not_matter(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    metrics.increment("results", route="labels", reason="")
    metrics.increment("results", reason="", route="labels")
    assert len(series(registry, "streamlabel_results_total")) == 1


@pytest.mark.parametrize(
    "labels",
    [{}, {"route": "labels"}, {"route": "a", "reason": "b", "user": "c"}, {"rout": "a", "x": "b"}],
)
def test_wrong_labels_are_a_bug(metrics: PrometheusMetrics, labels: dict[str, str]) -> None:
    with pytest.raises(AssertionError, match="This is a bug"):
        metrics.increment("results", 1, **labels)


def test_a_label_on_a_metric_without_labels_is_a_bug(metrics: PrometheusMetrics) -> None:
    with pytest.raises(AssertionError, match="This is a bug"):
        metrics.set("worker_up", 1, device="cpu")


def test_series_beyond_the_bound_share_one_name(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    for number in range(MAX_SERIES + 5):
        metrics.increment("labels", label=f"label {number}")
    names = {labels["label"] for labels in series(registry, "streamlabel_labels_total")}
    assert len(names) == MAX_SERIES + 1
    assert registry.get_sample_value("streamlabel_labels_total", {"label": OTHER}) == 5


def test_forgotten_partitions_are_no_longer_served(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    metrics.set("consumer_lag_records", 7, topic="texts", partition="1")
    metrics.forget("consumer_lag_records")
    assert series(registry, "streamlabel_consumer_lag_records") == []
    metrics.set("consumer_lag_records", 2, topic="texts", partition="1")
    assert len(series(registry, "streamlabel_consumer_lag_records")) == 1


def test_build_info_names_version_model_and_device(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    assert series(registry, "streamlabel_build_info") == [
        {"version": "1.2.3", "model": "m", "device": "cpu"}
    ]


def test_build_info_follows_the_model_that_was_loaded(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    metrics.describe_build({"version": "1.2.3", "model": "other", "device": "npu:0"})
    (labels,) = series(registry, "streamlabel_build_info")
    assert labels["model"] == "other"


def test_two_services_in_one_process_do_not_share_numbers() -> None:
    first, second = CollectorRegistry(), CollectorRegistry()
    PrometheusMetrics(first).increment("batches")
    PrometheusMetrics(second)
    assert second.get_sample_value("streamlabel_batches_total") == 0


def test_null_metrics_take_everything() -> None:
    """It takes what PrometheusMetrics takes, by the same names, and registers nothing."""
    before = {family.name for family in REGISTRY.collect()}
    registry = CollectorRegistry()
    for metrics in (NullMetrics(), PrometheusMetrics(registry)):
        metrics.increment("results", route="labels", reason="")
        metrics.observe("confidence", 0.5)
        metrics.set("worker_up", 1)
    assert {family.name for family in REGISTRY.collect()} == before
    assert registry.get_sample_value("streamlabel_worker_up") == 1


class _StallingClock:
    """A clock whose n-th sleep is late by ``lateness[n]``; cancels the sleeper at the end."""

    def __init__(self, lateness: list[float]) -> None:
        self._now_s = 0.0
        self._lateness = iter(lateness)

    def now_s(self) -> float:
        return self._now_s

    def epoch_ms(self) -> int:
        return int(self._now_s * 1000)

    async def sleep(self, seconds: float) -> None:
        late = next(self._lateness, None)
        if late is None:
            raise asyncio.CancelledError
        self._now_s += seconds + late


async def test_loop_lag_is_the_worst_of_the_recent_samples(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    seen: list[float] = []
    samples = telemetry._LAG_SAMPLES
    clock = _StallingClock([0.0, 2.0, *[0.0] * samples])
    with pytest.raises(asyncio.CancelledError):
        await watch_loop_lag(clock, metrics, seen=seen.append)
    assert seen == [0.0, *[2.0] * samples, 0.0]
    assert registry.get_sample_value("streamlabel_event_loop_lag_seconds") == 0.0
