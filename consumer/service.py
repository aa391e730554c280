"""Creates the parts of the service, and starts and stops them in order.

Start: HTTP, then models and broker, then the group. Stop: drain, then sink, workers and HTTP.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from functools import partial

import structlog
from prometheus_client import CollectorRegistry

from streamlabel import __version__
from streamlabel.config.deployments import all_deployments, metric_labels, paths_needed
from streamlabel.config.places import refuse_missing
from streamlabel.config.settings import Settings
from streamlabel.consumer.core.causes import first_cause
from streamlabel.consumer.core.ports import RecordSink, RecordSource
from streamlabel.consumer.core.signals import DrainOnSignal, ReloadOnSignal
from streamlabel.consumer.core.starting import unless_asked, until_reachable
from streamlabel.consumer.following import Follower
from streamlabel.consumer.kafka.open_ports import Ports, cause_of_outage, open_ports, watch_clients
from streamlabel.consumer.observability.connection_watch import watch_connections
from streamlabel.consumer.observability.drift_watch import drift_watches
from streamlabel.consumer.observability.health import Health
from streamlabel.consumer.observability.health_server import HealthServer
from streamlabel.consumer.observability.live_page import open_page
from streamlabel.consumer.observability.period_report import report_periods
from streamlabel.consumer.observability.process_metrics import watch_processes
from streamlabel.consumer.observability.telemetry import PrometheusMetrics, watch_loop_lag
from streamlabel.consumer.observability.trace_export import open_traces
from streamlabel.consumer.pipeline import Pipeline
from streamlabel.consumer.plans.opening import Calibrations, deploy_all, plan_for, read_calibrations
from streamlabel.consumer.shadowing import run_shadow
from streamlabel.consumer.state_gauges import observe
from streamlabel.consumer.swapping import Swapper
from streamlabel.consumer.workers import Workers
from streamlabel.errors import DeadLetterGuardError
from streamlabel.models.core.concurrent_requests import together
from streamlabel.models.core.system_clock import SystemClock
from streamlabel.models.worker.early_process import EarlyProcess

__all__ = ["run"]

_log = structlog.get_logger(__name__)


async def run(
    settings: Settings,
    *,
    start_timeout_s: float | None = None,
    stop: asyncio.Event | None = None,
    configure_worker: Callable[[], None] | None = None,
    reload: Callable[[], Settings] | None = None,
    ports: Ports | None = None,
    early: EarlyProcess | None = None,
) -> None:
    """Run until a signal (or ``stop``) starts the drain.

    Args:
        settings: the whole configuration.
        start_timeout_s: how long to wait for a broker at start; None: for ever.
        stop: drains when set; for callers that handle signals. None: SIGTERM and SIGINT do.
        configure_worker: called first in the worker process (logging); must be picklable.
        reload: reads the settings again at SIGHUP, for a swap. None: SIGHUP is not handled.
        ports: source and sink, not started yet; None: those of the settings.
        early: a worker process that was started before; the caller ends it if it is not needed.

    Raises:
        StreamlabelError: why the service could not start or had to stop; see its ``exit_code``.
    """
    asked = stop or asyncio.Event()
    wanted: asyncio.Queue[Settings] = asyncio.Queue()
    with ExitStack() as stack:
        if stop is None:
            stack.enter_context(DrainOnSignal(asked.set))
        service = _Service(settings, asked, start_timeout_s, configure_worker, wanted, early=early)
        if reload is not None:
            stack.enter_context(ReloadOnSignal(reload, wanted.put_nowait, service.not_read))
        await service.run(ports)
    _log.info("service_stopped")


class _Service:
    def __init__(
        self,
        settings: Settings,
        asked: asyncio.Event,
        start_timeout_s: float | None,
        configure_worker: Callable[[], None] | None,
        wanted: asyncio.Queue[Settings],
        *,
        early: EarlyProcess | None,
    ) -> None:
        self._early = early
        self._configure_worker = configure_worker
        self._wanted = wanted
        self._settings = settings
        self._asked = asked
        self._start_timeout_s = start_timeout_s
        self._clock = SystemClock()
        self._registry = CollectorRegistry()
        self._metrics = PrometheusMetrics(self._registry, several=metric_labels(settings))
        self._metrics.describe_build({"version": __version__})
        self._follower = Follower(settings, self._clock, self._metrics, start_timeout_s)
        self._health = Health.of(settings.http)
        self._page = open_page(self._registry, self._health, settings, self._clock)
        self._workers = self._open_workers(settings)

    def not_read(self) -> None:
        """Count settings that are wanted and cannot be read."""
        self._metrics.increment("swaps", outcome="refused")

    async def run(self, ports: Ports | None) -> None:
        source, sink = ports or open_ports(self._settings, self._clock)
        watching = watch_connections(
            (source, sink),
            clock=self._clock,
            metrics=self._metrics,
            seen=self._health.brokers,
            cause=partial(cause_of_outage, self._settings.kafka),
        )
        try:
            async with asyncio.TaskGroup() as group:
                # before anything else, so that an outage during the start is visible, too
                watcher = group.create_task(watching)
                await self._run(source, sink)
                watcher.cancel()
        except BaseExceptionGroup as errors:
            raise first_cause(errors) from errors

    async def _run(self, source: RecordSource, sink: RecordSink) -> None:
        settings, clock, metrics = self._settings, self._clock, self._metrics
        async with AsyncExitStack() as stack:
            if settings.http.enabled:
                pids = {each.id: partial(self._pid, each.id) for each in all_deployments(settings)}
                await asyncio.to_thread(watch_processes, self._registry, workers=pids)
                server = HealthServer(
                    self._health, self._registry, clock, settings=settings.http, page=self._page
                )
                await stack.enter_async_context(server)
            if (ordered := await unless_asked(self._asked, self._follower.first())) is None:
                return
            settings = self._settings = ordered
            await asyncio.to_thread(refuse_missing, paths_needed(settings))
            calibrations = await asyncio.to_thread(read_calibrations, settings)
            workers = self._workers = self._open_workers(settings)
            stack.push_async_callback(lambda: self._workers.close())  # noqa: PLW0108 those of then
            stack.push_async_callback(sink.stop)
            if await unless_asked(self._asked, self._start(sink, workers, calibrations)) is None:
                self._health.drain_started()
                return
            models, limit = workers.classifiers, sink.limit_bytes
            deployments = deploy_all(settings, models, limit_bytes=limit, calibrations=calibrations)
            pipeline = Pipeline(
                source=source,
                sink=sink,
                plan=plan_for(settings, deployments),
                deployments=deployments,
                settings=settings,
                clock=clock,
                metrics=metrics,
                start_timeout_s=self._start_timeout_s,
            )
            watches = await asyncio.to_thread(
                drift_watches, calibrations, settings.drift, deployments, metrics, pipeline.use
            )
            pipeline.watch_drift(watches)
            opening = open_traces(settings, sink.limit_bytes)
            if (traces := await stack.enter_async_context(opening)) is not None:
                pipeline.watch_jobs(traces)
            await self._serve(pipeline, source, sink)

    def _pid(self, model: str) -> int | None:
        return self._workers.pid(model)

    def _open_workers(self, settings: Settings) -> Workers:
        return Workers(
            settings,
            configure_worker=self._configure_worker,
            metrics=self._metrics,
            on_change=lambda is_up: self._health.worker_changed(up=is_up),
        )

    async def _start(self, sink: RecordSink, workers: Workers, calibrations: Calibrations) -> bool:
        """Connect and load the models concurrently; both must succeed."""
        timeout_s, clock = self._start_timeout_s, self._clock
        connecting = until_reachable(sink.start, timeout_s=timeout_s, clock=clock)
        await together((self._load(workers, calibrations), connecting))
        return True

    async def _load(self, workers: Workers, calibrations: Calibrations) -> None:
        """Load the models and report them, whether brokers answer or not."""
        self._follower.check(await workers.load(calibrations, early=self._early))
        self._health.model_loaded()
        self._use_workers(workers)

    async def _serve(self, pipeline: Pipeline, source: RecordSource, sink: RecordSink) -> None:
        clock, metrics, period_s = self._clock, self._metrics, self._settings.logging.period_s
        try:
            async with asyncio.TaskGroup() as group:
                self._workers.watch(group, self._clock)
                swapper = self._swapper(pipeline, sink, group)
                watching = (
                    self._drain_when_asked(pipeline),
                    swapper.run(self._wanted),
                    self._follower.run(swapper),
                    run_shadow(self._settings, pipeline, self._configure_worker, clock, metrics),
                    self._page.run(pipeline.deployments),
                    observe(pipeline, source, health=self._health, metrics=metrics, clock=clock),
                    report_periods(self._registry, period_s=period_s, clock=clock),
                    watch_clients(clock, metrics),
                    watch_loop_lag(clock, metrics, seen=self._health.loop_lagged),
                )
                watchers = [group.create_task(each) for each in watching]
                await pipeline.run()
                for watcher in watchers:
                    watcher.cancel()
                self._workers.unwatch()
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

    def _swapper(self, pipeline: Pipeline, sink: RecordSink, group: asyncio.TaskGroup) -> Swapper:
        return Swapper(
            self._settings,
            self._workers,
            pipeline,
            limit_bytes=sink.limit_bytes,
            open_workers=self._open_workers,
            on_swapped=self._use_workers,
            watch=lambda workers: workers.watch(group, self._clock),
            metrics=self._metrics,
        )

    def _use_workers(self, workers: Workers) -> None:
        self._workers = workers
        self._metrics.describe_build({"version": __version__, **workers.described()})
