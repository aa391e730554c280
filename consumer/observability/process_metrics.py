"""What the operating system says about the service and its workers: time, memory, open files."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric as SampledMetric
from prometheus_client.registry import Collector

__all__ = ["watch_processes"]

_WORKER: Final = "streamlabel_worker"


def watch_processes(
    registry: CollectorRegistry, *, workers: Mapping[str, Callable[[], int | None]]
) -> None:
    """Add the operating system's metrics of all processes to a registry; reads a file.

    ``process_*`` are those of the service, as in other programs with Prometheus metrics; those of
    the worker are ``streamlabel_worker_process_*``, and absent while there is no worker. With
    several workers these have the label ``deployment``. They are read from /proc at each scrape, so
    there are none on systems without it.

    Args:
        registry: what ``/metrics`` serves.
        workers: deployment id -> the process id of its worker; None: there is none.
    """
    ProcessCollector(registry=registry)
    registry.register(_WorkerProcesses(workers))


class _WorkerProcesses(Collector):
    """Those of each worker; the library's collector has no labels."""

    def __init__(self, workers: Mapping[str, Callable[[], int | None]]) -> None:
        self._collectors = {
            deployment: ProcessCollector(
                namespace=_WORKER,
                # 0 is not a process: /proc has no such entry, so the collector returns nothing
                pid=lambda pid=pid: pid() or 0,  # type: ignore[misc]  # mypy cannot infer it
                registry=None,
            )
            for deployment, pid in workers.items()
        }

    def collect(self) -> Iterable[SampledMetric]:
        found: dict[str, SampledMetric] = {}
        for deployment, collector in self._collectors.items():
            labels = {"deployment": deployment} if len(self._collectors) > 1 else {}
            for each in collector.collect():
                family = found.setdefault(
                    each.name, SampledMetric(each.name, each.documentation, each.type)
                )
                for sample in each.samples:
                    family.add_sample(sample.name, {**sample.labels, **labels}, sample.value)
        return found.values()
