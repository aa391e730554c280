"""Follows the verdict topic without end, and serves the state of the monitor as metrics."""

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from typing import Final, Never

from prometheus_client import CollectorRegistry

from streamlabel.config.settings import Settings
from streamlabel.consumer.core.metric_names import GaugeName
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.kafka.topic_reader import watch
from streamlabel.consumer.observability.metrics_server import gauges, served
from streamlabel.consumer.output.output_reader import OutputReader
from streamlabel.consumer.output.verdict import read_verdict
from streamlabel.errors import VerdictError
from streamlabel.learning.monitor import Standing, TargetMonitor
from streamlabel.learning.watching import Watch

__all__ = ["MonitorMetrics", "follow"]

_NAMES: Final[tuple[GaugeName, ...]] = (
    "promise_audits",
    "promise_evidence",
    "promise_upper_bound",
    "promise_alarm",
)
# Scrapes are rarely more frequent, and a bound takes a millisecond to compute.
_INTERVAL_S: Final = 2.0


class MonitorMetrics:
    """The state of the present deployment of each task, as gauges on a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._gauges = gauges(_NAMES, self.registry)

    def show(self, standings: Iterable[Standing]) -> None:
        """Replace all series."""
        for gauge in self._gauges.values():
            gauge.clear()
        for each in standings:
            labels = {"label": each.label or "", "task": each.watched.task or ""}
            values = (each.audits, each.evidence, each.upper, each.has_alarm)
            for name, value in zip(_NAMES, values, strict=True):
                self._gauges[name].labels(**labels).set(value)


async def follow(state: Watch, settings: Settings, topic: str, clock: Clock) -> Never:
    """Count all verdicts of a topic, and those that come, until cancelled.

    Raises:
        ConfigError: the topic does not exist, or the port of the metrics cannot be used.
        BrokerError: the brokers cannot be reached, or refuse.
    """
    metrics = MonitorMetrics()
    server = served(
        metrics.registry,
        host=settings.http.host,
        port=settings.http.port if settings.http.enabled else None,
        advice="http.port: set another port for the monitor, or http.enabled: false",
    )
    async with server, asyncio.TaskGroup() as group:
        group.create_task(_show(metrics, state.monitor, clock))
        records = watch(settings.kafka, topic, from_start=True, clock=clock)
        outputs = OutputReader(settings.output, clock)
        async with aclosing(records):
            async for each in records:
                [record] = await outputs.plain([each])
                name = (record.key or b"").decode("utf-8", "replace")
                try:
                    verdict = None if record.value is None else read_verdict(record.value)
                except VerdictError:
                    continue
                await state.saw(name, verdict)
    raise AssertionError("following a topic ended. This is a bug.")


async def _show(metrics: MonitorMetrics, monitor: TargetMonitor, clock: Clock) -> Never:
    while True:
        latest = set(monitor.latest().values())
        metrics.show([each for each in monitor.standings() if each.watched in latest])
        await clock.sleep(_INTERVAL_S)
