"""The worker processes of a service: one for each model."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Never

import structlog

from streamlabel.config.deployments import DeploymentSettings, all_deployments
from streamlabel.config.model import ModelSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.batching.full_batch import prove_memory
from streamlabel.consumer.core.ports import Clock, Metrics
from streamlabel.consumer.observability.worker_watch import watch_worker
from streamlabel.consumer.routing.proven_precision import hinted_model
from streamlabel.errors import StreamlabelError
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.worker.load_wait import what_loads
from streamlabel.models.worker.worker_classifier import WorkerClassifier

__all__ = ["Workers"]

_log = structlog.get_logger(__name__)


class Workers:
    """Loads the models of a service, each in a process of its own, and ends them.

    Call ``close`` also if ``load`` fails.

    Args:
        settings: of the service.
        configure_worker: called first in each process (logging); must be picklable.
        metrics: gets which workers are up, and counts their restarts; None for commands.
        on_change: called when a worker is lost or is back: whether all are up.
        on_wait: called from time to time while a model loads: what loads, and for how many seconds.
            None: it is logged.

    Attributes:
        classifiers: the loaded models, by the id of the deployment.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        configure_worker: Callable[[], None] | None,
        metrics: Metrics | None = None,
        on_change: Callable[[bool], None] = lambda _: None,
        on_wait: Callable[[str, float], None] | None = None,
    ) -> None:
        self.classifiers: dict[str, WorkerClassifier] = {}
        self._settings = settings
        self._models = {each.id: each for each in all_deployments(settings)}
        self._configure = configure_worker
        self._metrics = metrics
        self._on_change = on_change
        self._on_wait = on_wait
        self._up: dict[str, bool] = {}
        self._watching: list[asyncio.Task[Never]] = []

    def _wait_of(self, model: DeploymentSettings) -> Callable[[float], None] | None:
        if self._on_wait is None:
            return None
        return partial(self._on_wait, what_loads(model.settings.model))

    def watch(self, group: asyncio.TaskGroup, clock: Clock) -> None:
        """Check from now on whether the processes answer, until they are closed."""
        self._watching += [
            group.create_task(watch_worker(each, clock=clock, seen=partial(self.seen, name)))
            for name, each in self.classifiers.items()
        ]

    def unwatch(self) -> None:
        """Check no longer."""
        for task in self._watching:
            task.cancel()

    async def close(self) -> None:
        """End the processes."""
        self.unwatch()
        await asyncio.gather(*(each.close() for each in self.classifiers.values()))

    async def load(
        self, calibrations: Mapping[str, CalibrationFile | None], texts: Sequence[str] = ()
    ) -> Mapping[str, WorkerClassifier]:
        """Load all models concurrently, and prove that full batches fit into their memory.

        Args:
            calibrations: by the id of the deployment: ``model.dtype: auto`` takes their precision.
            texts: real ones, on which precisions are judged where there is no calibration.

        Raises:
            StreamlabelError: a model cannot be loaded; with several, its id precedes the message.
        """
        loading = [
            asyncio.ensure_future(
                self._load(each, hinted_model(each.settings.model, calibrations[name], texts))
            )
            for name, each in self._models.items()
        ]
        try:
            await asyncio.gather(*loading)
        except BaseException:
            for each in loading:
                each.cancel()
            await asyncio.gather(*loading, return_exceptions=True)
            raise
        return self.classifiers

    async def _load(self, model: DeploymentSettings, section: ModelSettings) -> None:
        try:
            await self._start(model, section)
        except StreamlabelError as error:
            if model.path:  # which of several models it is
                error.args = (f"{model.id}: {error}",)
            raise

    async def _start(self, model: DeploymentSettings, section: ModelSettings) -> None:
        classifier = await WorkerClassifier.start(
            section,
            model.settings.worker,
            configure_logging=self._configure,
            on_wait=self._wait_of(model),
            # at once: the next check of ``watch_worker`` may be two seconds later
            on_loss=lambda _why: self.seen(model.id, up=False),
            on_restart=lambda why: self._restarted(model.id, why),
        )
        self.classifiers[model.id] = classifier  # so that it is ended whatever follows
        await prove_memory(classifier, model.settings.batching)
        self.seen(model.id, up=classifier.is_up)

    def described(self) -> dict[str, str]:
        """Return names and devices of the models, for ``streamlabel_build_info``."""
        models = [each.identity for each in self.classifiers.values()]
        return {
            "model": ",".join(model.name for model in models),
            "device": ",".join(dict.fromkeys(model.device for model in models)),
        }

    def pid(self, model: str) -> int | None:
        """Return the process id of a worker; None while there is none."""
        classifier = self.classifiers.get(model)
        return None if classifier is None else classifier.pid

    def seen(self, model: str, *, up: bool) -> None:
        """Note whether a worker is up, for its gauge and ``/readyz``."""
        self._up[model] = up
        if self._metrics is not None:
            self._metrics.set("worker_up", float(up), deployment=model)
        self._on_change(all(self._up.values()))

    def _restarted(self, model: str, why: str) -> None:
        self.seen(model, up=True)
        if self._metrics is not None:
            self._metrics.increment("worker_restarts", deployment=model)
        _log.warning("worker_restarted", why=why, **self._named(model))

    def _named(self, model: str) -> dict[str, str]:
        return {"deployment": model} if len(self._models) > 1 else {}
