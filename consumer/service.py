"""Creates the parts of the service, and starts and stops them in order.

Start: HTTP, then model and broker concurrently, then the group. Stop: drain the pipeline (which
commits and leaves the group), then the sink, then the worker process, then HTTP.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, nullcontext
from functools import partial

import structlog
from prometheus_client import CollectorRegistry

from streamlabel import __version__
from streamlabel.config.catalog import paths_in
from streamlabel.config.places import refuse_missing
from streamlabel.config.settings import Settings
from streamlabel.consumer.batching.full_batch import prove_memory
from streamlabel.consumer.core.causes import first_cause
from streamlabel.consumer.core.ports import RecordSink, RecordSource
from streamlabel.consumer.core.signals import DrainOnSignal
from streamlabel.consumer.core.starting import unless_asked, until_reachable
from streamlabel.consumer.kafka.open_ports import cause_of_outage, open_ports
from streamlabel.consumer.observability.connection_watch import watch_connections
from streamlabel.consumer.observability.drift_watch import watch_drift
from streamlabel.consumer.observability.health import Health
from streamlabel.consumer.observability.health_server import HealthServer
from streamlabel.consumer.observability.period_report import report_periods
from streamlabel.consumer.observability.telemetry import (
    PrometheusMetrics,
    watch_loop_lag,
    watch_processes,
)
from streamlabel.consumer.observability.worker_watch import watch_worker
from streamlabel.consumer.pipeline import Pipeline
from streamlabel.consumer.plans.deployment import deploy
from streamlabel.consumer.plans.single import Single
from streamlabel.consumer.routing.calibrated_router import read_calibration
from streamlabel.consumer.routing.proven_precision import hinted_model
from streamlabel.consumer.state_gauges import observe
from streamlabel.errors import DeadLetterGuardError
from streamlabel.models.core.system_clock import SystemClock
from streamlabel.models.worker.worker_classifier import WorkerClassifier

__all__ = ["run"]

_log = structlog.get_logger(__name__)


async def run(
    settings: Settings,
    *,
    start_timeout_s: float | None = None,
    stop: asyncio.Event | None = None,
    configure_worker: Callable[[], None] | None = None,
) -> None:
    """Run until a signal (or ``stop``) starts the drain.

    Args:
        settings: the whole configuration.
        start_timeout_s: how long to wait for a broker at start; None: for ever.
        stop: drains when set; for callers that handle signals. None: SIGTERM and SIGINT do.
        configure_worker: called first in the worker process (logging); must be picklable.

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
        self._settings, self._model = settings, settings.model
        self._asked = asked
        self._start_timeout_s = start_timeout_s
        self._clock = SystemClock()
        self._registry = CollectorRegistry()
        self._metrics = PrometheusMetrics(self._registry, build={"version": __version__})
        self._worker: WorkerClassifier | None = None
        self._health = Health(
            live_after_s=settings.http.live_after_s, broker_grace_s=settings.http.broker_grace_s
        )

    async def run(self, configure_worker: Callable[[], None] | None) -> None:
        source, sink = open_ports(self._settings, self._clock)
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
                await self._run(source, sink, configure_worker)
                watcher.cancel()
        except BaseExceptionGroup as errors:
            raise first_cause(errors) from errors

    async def _run(
        self,
        source: RecordSource,
        sink: RecordSink,
        configure_worker: Callable[[], None] | None,
    ) -> None:
        settings, clock, registry = self._settings, self._clock, self._registry
        await asyncio.to_thread(refuse_missing, paths_in(settings))
        calibration = await asyncio.to_thread(read_calibration, settings.routing)
        self._model = hinted_model(settings.model, calibration)
        async with AsyncExitStack() as stack:
            if settings.http.enabled:
                await asyncio.to_thread(
                    watch_processes, registry, worker=lambda: getattr(self._worker, "pid", None)
                )
                server = HealthServer(self._health, registry, clock, settings=settings.http)
                await stack.enter_async_context(server)
            stack.push_async_callback(sink.stop)
            classifier = await unless_asked(self._asked, self._start(sink, configure_worker))
            if classifier is None:
                self._health.drain_started()
                return
            self._worker = classifier
            stack.push_async_callback(classifier.close)
            deployment = deploy(
                settings, classifier, limit_bytes=sink.limit_bytes, calibration=calibration
            )
            pipeline: Pipeline  # created below; the watch tightens its thresholds
            drift = await asyncio.to_thread(
                watch_drift,
                calibration,
                settings.drift,
                metrics=self._metrics,
                tighten=lambda step: pipeline.use(deployment.tightened(step)),
            )
            pipeline = Pipeline(
                source=source,
                sink=sink,
                plan=Single(deployment.id),
                deployments=[deployment],
                settings=settings,
                clock=clock,
                metrics=self._metrics,
                start_timeout_s=self._start_timeout_s,
                drift={} if drift is None else {deployment.id: drift},
            )
            await self._serve(pipeline, classifier, source)

    async def _start(
        self, sink: RecordSink, configure_worker: Callable[[], None] | None
    ) -> WorkerClassifier:
        """Connect and load the model concurrently; both must succeed."""
        connecting = asyncio.ensure_future(
            until_reachable(sink.start, timeout_s=self._start_timeout_s, clock=self._clock)
        )
        loading = asyncio.ensure_future(self._load(configure_worker))
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

    async def _load(self, configure_worker: Callable[[], None] | None) -> WorkerClassifier:
        """Load the model and report it at once, whether brokers answer or not."""
        classifier = await WorkerClassifier.start(
            self._model,
            self._settings.worker,
            configure_logging=configure_worker,
            # at once: the next check of ``watch_worker`` may be two seconds later
            on_loss=lambda _why: self._show_worker(up=False),
            on_restart=self._worker_restarted,
        )
        try:
            await prove_memory(classifier, self._settings.batching)
        except BaseException:
            await classifier.close()
            raise
        self._health.model_loaded()
        self._show_worker(up=classifier.is_up)
        name, device = classifier.identity.name, classifier.identity.device
        self._metrics.describe_build({"version": __version__, "model": name, "device": device})
        return classifier

    async def _serve(
        self, pipeline: Pipeline, classifier: WorkerClassifier, source: RecordSource
    ) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                watchers = [
                    group.create_task(self._drain_when_asked(pipeline)),
                    group.create_task(
                        observe(
                            pipeline,
                            source,
                            health=self._health,
                            metrics=self._metrics,
                            clock=self._clock,
                        )
                    ),
                    group.create_task(
                        watch_worker(classifier, clock=self._clock, seen=self._show_worker)
                    ),
                    group.create_task(
                        report_periods(
                            self._registry,
                            period_s=self._settings.logging.period_s,
                            clock=self._clock,
                        )
                    ),
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

    def _show_worker(self, *, up: bool) -> None:
        self._health.worker_changed(up=up)
        self._metrics.set("worker_up", float(up))

    async def _drain_when_asked(self, pipeline: Pipeline) -> None:
        await self._asked.wait()
        self._health.drain_started()
        pipeline.drain()

    def _worker_restarted(self, why: str) -> None:
        self._show_worker(up=True)
        self._metrics.increment("worker_restarts")
        _log.warning("worker_restarted", why=why)
