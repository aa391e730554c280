"""Processor time, memory, files and age of service and worker; no series of when they began."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from streamlabel.consumer.observability.process_metrics import watch_processes
from streamlabel.consumer.observability.telemetry import PrometheusMetrics

NAMES = ("cpu_seconds_total", "resident_memory_bytes", "open_fds", "start_time_seconds")

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


def test_both_processes_are_measured_and_the_worker_only_while_it_is_there() -> None:
    registry = CollectorRegistry()
    pids: list[int | None] = [None]
    watch_processes(registry, workers={"model": lambda: pids[0]})
    for name in NAMES:
        assert registry.get_sample_value(f"process_{name}") is not None
        assert registry.get_sample_value(f"streamlabel_worker_process_{name}") is None
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        pids[0] = child.pid
        for name in NAMES:
            assert registry.get_sample_value(f"streamlabel_worker_process_{name}") is not None
        started_s = registry.get_sample_value("streamlabel_worker_process_start_time_seconds")
        child.kill()
    assert started_s is not None
    assert started_s >= (registry.get_sample_value("process_start_time_seconds") or 0)
    pids[0] = child.pid  # gone: the page is served all the same
    assert registry.get_sample_value("streamlabel_worker_process_open_fds") is None
    assert os.getpid() != child.pid


def test_of_several_workers_each_has_series_of_the_same_names() -> None:
    """So that alerts and boards are about all of them."""
    registry = CollectorRegistry()
    watch_processes(registry, workers={"fast": os.getpid, "slow": os.getppid, "gone": lambda: None})
    for name in NAMES:
        full = f"streamlabel_worker_process_{name}"
        found = {
            sample.labels["deployment"]
            for family in registry.collect()
            for sample in family.samples
            if sample.name == full
        }
        assert found == {"fast", "slow"}
        assert registry.get_sample_value(full) is None


def test_no_series_says_when_another_began() -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    metrics.increment("results", route="label", reason="")
    metrics.observe("confidence", 0.5)
    watch_processes(registry, workers={"model": lambda: None})
    openmetrics: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]
    for page in (generate_latest(registry), openmetrics):
        assert b"_created" not in page
