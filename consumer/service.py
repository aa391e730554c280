"""Puts the parts together, starts them in order and stops them in order.

Start: HTTP, then model and broker side by side, then the group. Stop: drain the pipeline (which
commits and leaves the group), then the sink, then the worker process, then HTTP.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, nullcontext
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from streamlabel import __version__
from streamlabel.config.settings import Settings
from streamlabel.consumer.calibrated import read_calibration
from streamlabel.consumer.causes import first_cause
from streamlabel.consumer.clock import SystemClock
from streamlabel.consumer.drift_watch import watch_drift
from streamlabel.consumer.health import Health
from streamlabel.consumer.health_server import HealthServer
from streamlabel.consumer.kafka import open_ports
from streamlabel.consumer.lifecycle import DrainOnSignal
from streamlabel.consumer.outcomes import compose
from streamlabel.consumer.pipeline import Pipeline
from streamlabel.consumer.ports import RecordSink, RecordSource
from streamlabel.consumer.starting import until_reachable
from streamlabel.consumer.telemetry import PrometheusMetrics, watch_loop_lag
from streamlabel.errors import DeadLetterGuardError
from streamlabel.models.worker import WorkerClassifier

__all__ = ["run"]

# Markers of transactions on an idle input stay as a lag that no read removes; more than this is
# work. They are one for each transaction since the last record, so a few at most.
_MARKER_LAG = 10
# How often gauges and the state behind the probes are brought up to date.
_OBSERVE_S = 1.0

_log = structlog.get_logger(__name__)


async def run(
    settings: Settings,
    *,
    start_timeout_s: float | None = None,
    stop: asyncio.Event | None = None,
    configure_worker: Callable[[], None] | None = None,
) -> None:
    """Serve until a signal (or ``stop``) asks for the drain.

    Args:
        settings: everything an operator may change.
        start_timeout_s: how long to wait for a broker at start; None: for ever.
        stop: drains when set; for callers that own the signals. None: SIGTERM and SIGINT do.
        configure_worker: called first thing in the worker process (logging); must pickle.

    Raises:
        StreamlabelError: why the service could not start or had to stop; see its ``exit_code``.
    """
    asked = stop or asyncio.Event()
    with nullcontext() if stop is not None else DrainOnSignal(asked.set):
        await _Service(settings, asked, start_timeout_s).run(configure_worker)
    _log.info("service_stopped")


class _Service:
    def __init__(
        self, settings: Settings, asked: asyncio.Event, start_timeout_s: float | None
    ) -> None:
        self._settings = settings
        self._asked = asked
        self._start_timeout_s = start_timeout_s
        self._clock = SystemClock()
        self._registry = CollectorRegistry()
        self._metrics = PrometheusMetrics(self._registry, build={"version": __version__})
        self._health = Health(live_after_s=settings.http.live_after_s)

    async def run(self, configure_worker: Callable[[], None] | None) -> None:
        settings, clock = self._settings, self._clock
        calibration = await asyncio.to_thread(read_calibration, settings.routing)
        async with AsyncExitStack() as stack:
            if settings.http.enabled:
                server = HealthServer(self._health, self._registry, clock, settings=settings.http)
                await stack.enter_async_context(server)
            source, sink = open_ports(settings, clock)
            stack.push_async_callback(sink.stop)
            classifier = await self._unless_asked(self._start(sink, configure_worker))
            if classifier is None:
                self._health.drain_started()
                return
            stack.push_async_callback(classifier.close)
            self._health.model_loaded()
            info = classifier.info
            self._metrics.describe_build(
                {"version": __version__, "model": info.name, "device": info.device}
            )
            composer = compose(settings, classifier, sink, calibration=calibration)
            drift = await asyncio.to_thread(
                watch_drift,
                calibration,
                settings.drift,
                metrics=self._metrics,
                tighten=composer.tighten,
            )
            pipeline = Pipeline(
                source=source,
                sink=sink,
                classifier=classifier,
                composer=composer,
                settings=settings,
                clock=clock,
                metrics=self._metrics,
                start_timeout_s=self._start_timeout_s,
                drift=drift,
            )
            await self._serve(pipeline, classifier, source)

    async def _start(
        self, sink: RecordSink, configure_worker: Callable[[], None] | None
    ) -> WorkerClassifier:
        """Connect and load the model side by side; both must succeed."""
        connecting = asyncio.ensure_future(
            until_reachable(sink.start, timeout_s=self._start_timeout_s, clock=self._clock)
        )
        loading = asyncio.ensure_future(
            WorkerClassifier.start(
                self._settings.model,
                self._settings.worker,
                configure_logging=configure_worker,
                on_restart=self._worker_restarted,
            )
        )
        try:
            await asyncio.gather(loading, connecting)
        except BaseException:
            connecting.cancel()
            loading.cancel()
            _, loaded = await asyncio.gather(connecting, loading, return_exceptions=True)
            if isinstance(loaded, WorkerClassifier):
                await loaded.close()
            raise
        return loading.result()

    async def _unless_asked(
        self, starting: Coroutine[Any, Any, WorkerClassifier]
    ) -> WorkerClassifier | None:
        """Return what ``starting`` does, or None if a stop is asked for before it is there."""
        start = asyncio.ensure_future(starting)
        stop = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait((start, stop), return_when=asyncio.FIRST_COMPLETED)
            return start.result() if start.done() else None
        finally:
            stop.cancel()
            start.cancel()
            await asyncio.gather(start, stop, return_exceptions=True)

    async def _serve(
        self, pipeline: Pipeline, classifier: WorkerClassifier, source: RecordSource
    ) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                watchers = [
                    group.create_task(self._drain_when_asked(pipeline)),
                    group.create_task(self._observe(pipeline, classifier, source)),
                    group.create_task(
                        watch_loop_lag(self._clock, self._metrics, seen=self._health.loop_lagged)
                    ),
                ]
                await pipeline.run()
                for watcher in watchers:
                    watcher.cancel()
        except BaseExceptionGroup as errors:
            cause = first_cause(errors)
            if isinstance(cause, DeadLetterGuardError):
                self._health.guard_tripped(str(cause))
            raise cause from errors
        finally:
            self._health.left()

    async def _drain_when_asked(self, pipeline: Pipeline) -> None:
        await self._asked.wait()
        self._health.drain_started()
        pipeline.drain()

    async def _observe(
        self, pipeline: Pipeline, classifier: WorkerClassifier, source: RecordSource
    ) -> None:
        """Bring gauges and the state behind the probes up to date, until cancelled."""
        metrics, health = self._metrics, self._health
        while True:
            now_s = self._clock.now_s()
            lag = source.lag() if pipeline.assignment.has_joined else {}
            metrics.forget("consumer_lag_records")  # of partitions that went away
            for (topic, partition), records in lag.items():
                metrics.set("consumer_lag_records", records, topic=topic, partition=str(partition))
            is_behind = any(records > _MARKER_LAG for records in lag.values())
            health.work(waiting=pipeline.in_flight.items > 0 or is_behind, now_s=now_s)
            health.progressed(pipeline.last_progress_s)
            health.worker_changed(up=classifier.is_up)
            if pipeline.assignment.has_joined:
                health.assigned(len(pipeline.assignment))
            metrics.set("in_flight_records", pipeline.in_flight.items)
            metrics.set("in_flight_bytes", pipeline.in_flight.size_bytes)
            metrics.set("seconds_since_progress", health.stalled_s(now_s))
            metrics.set("worker_up", float(classifier.is_up))
            await self._clock.sleep(_OBSERVE_S)

    def _worker_restarted(self, why: str) -> None:
        self._metrics.increment("worker_restarts")
        _log.warning("worker_restarted", why=why)
