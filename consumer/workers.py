"""The worker processes of a service: one for each model, or for several that share a trunk."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Never

import structlog

from streamlabel.config.deployments import DeploymentSettings, all_deployments
from streamlabel.config.model import ModelSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.batching.full_batch import prove_memory
from streamlabel.consumer.core.ports import Clock, Metrics
from streamlabel.consumer.observability.worker_watch import watch_worker
from streamlabel.consumer.routing.proven_precision import hinted_model
from streamlabel.errors import NotJoinedError, StreamlabelError
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.classifier import Classifier
from streamlabel.models.core.joint import HeadClassifier
from streamlabel.models.devices.device_memory import DeviceMemory
from streamlabel.models.encoder.trunk import find_shared_trunks
from streamlabel.models.worker.early_process import EarlyProcess
from streamlabel.models.worker.load_wait import what_loads
from streamlabel.models.worker.worker_classifier import WorkerClassifier

__all__ = ["Workers"]

_log = structlog.get_logger(__name__)

# For a question that the event loop of a worker answers at once.
_ANSWER_S = 10.0


class Workers:
    """Loads the models of a service into processes, and ends them.

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
        processes: those that they are in, by the id of the deployment; models that are computed
            together have the same one.
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
        self.classifiers: dict[str, Classifier] = {}
        self.processes: dict[str, WorkerClassifier] = {}
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
            for name, each in self.processes.items()
        ]

    def unwatch(self) -> None:
        """Check no longer."""
        for task in self._watching:
            task.cancel()

    async def close(self) -> None:
        """End the processes."""
        self.unwatch()
        await asyncio.gather(*(each.close() for each in set(self.processes.values())))

    async def load(
        self,
        calibrations: Mapping[str, CalibrationFile | None],
        texts: Sequence[str] = (),
        *,
        early: EarlyProcess | None = None,
    ) -> Mapping[str, Classifier]:
        """Load all models concurrently, and prove that full batches fit into their memory.

        Encoders that share a trunk are loaded into one process, which computes them in one pass.

        Args:
            calibrations: by the id of the deployment: ``model.dtype: auto`` takes their precision.
            texts: real ones, on which precisions are judged where there is no calibration.
            early: a process for the first model of its back end.

        Raises:
            StreamlabelError: a model cannot be loaded; with several, its id precedes the message.
        """
        sections = {
            name: hinted_model(each.settings.model, calibrations[name], texts)
            for name, each in self._models.items()
        }
        sharing = await asyncio.to_thread(find_shared_trunks, sections)
        for why in sharing.apart:
            _log.warning("encoder_not_shared", why=why)
        shared = {name for group in sharing.groups for name in group}
        groups = [*sharing.groups, *((name,) for name in sections if name not in shared)]
        loading = [
            asyncio.ensure_future(self._load({name: sections[name] for name in group}, early))
            for group in groups
        ]
        try:
            await asyncio.gather(*loading)
        except BaseException:
            for each in loading:
                each.cancel()
            await asyncio.gather(*loading, return_exceptions=True)
            raise
        for names in _reading_alike(self.classifiers):
            _log.info("tokens_shared", deployments=names)
        return self.classifiers

    async def _load(
        self, sections: Mapping[str, ModelSettings], early: EarlyProcess | None = None
    ) -> None:
        """Load models into one process."""
        try:
            await self._start(sections, early)
        except NotJoinedError as error:
            _log.warning("encoder_not_shared", deployments=[*sections], why=str(error))
            for name, section in sections.items():
                await self._load({name: section})
        except StreamlabelError as error:
            if any(self._models[name].path for name in sections):  # which of several models it is
                error.args = (f"{', '.join(sections)}: {error}",)
            raise

    async def _start(
        self, sections: Mapping[str, ModelSettings], early: EarlyProcess | None
    ) -> None:
        names = [*sections]
        first, *others = sections.values()
        model = self._models[names[0]]
        worker = await WorkerClassifier.start(
            first,
            model.settings.worker,
            others=others,
            early=early,
            configure_logging=self._configure,
            on_wait=self._wait_of(model),
            # at once: the next check of ``watch_worker`` may be two seconds later
            on_loss=lambda _why: self._each_seen(names, up=False),
            on_restart=lambda why: self._restarted(names, why),
        )
        for number, name in enumerate(names):  # first, so that it is ended whatever follows
            self.processes[name] = worker
            part = HeadClassifier(worker, worker.heads, number) if others else worker
            self.classifiers[name] = part
        if others:
            _log.info("encoder_shared", deployments=names, worker_pid=worker.pid)
        await prove_memory(worker, model.settings.batching)
        self._each_seen(names, up=worker.is_up)

    def described(self) -> dict[str, str]:
        """Return names and devices of the models, for ``streamlabel_build_info``."""
        models = [each.identity for each in self.classifiers.values()]
        return {
            "model": ",".join(model.name for model in models),
            "device": ",".join(dict.fromkeys(model.device for model in models)),
        }

    async def on_devices(self) -> tuple[dict[str, str], tuple[DeviceMemory, ...]]:
        """Return the device of each model, and the memory of the accelerators among them."""
        devices = {name: each.identity.device for name, each in self.classifiers.items()}
        by_device = {
            device: self.processes[name]
            for name, device in devices.items()
            if device != "cpu" and name in self.processes
        }
        found = await asyncio.gather(
            *(each.device_memory(within_s=_ANSWER_S) for each in by_device.values())
        )
        return devices, tuple(each for each in found if each is not None)

    def pid(self, model: str) -> int | None:
        """Return the process id of a worker; None while there is none."""
        process = self.processes.get(model)
        return None if process is None else process.pid

    def seen(self, model: str, *, up: bool) -> None:
        """Note whether a worker is up, for its gauge and ``/readyz``."""
        self._up[model] = up
        if self._metrics is not None:
            self._metrics.set("worker_up", float(up), deployment=model)
        self._on_change(all(self._up.values()))

    def _each_seen(self, models: Sequence[str], *, up: bool) -> None:
        for model in models:
            self.seen(model, up=up)

    def _restarted(self, models: Sequence[str], why: str) -> None:
        self._each_seen(models, up=True)
        if self._metrics is not None:
            for model in models:
                self._metrics.increment("worker_restarts", deployment=model)
        named = {"deployment": ", ".join(models)} if len(self._models) > 1 else {}
        _log.warning("worker_restarted", why=why, **named)


def _reading_alike(classifiers: Mapping[str, Classifier]) -> list[list[str]]:
    """Return the ids of models for which each text is prepared once, although in several passes."""
    passes: dict[str, dict[int, list[str]]] = {}
    for name, each in classifiers.items():
        if each.hints.prepared_by is not None:
            one = id(each.joint if isinstance(each, HeadClassifier) else each)
            passes.setdefault(each.hints.prepared_by, {}).setdefault(one, []).append(name)
    return [[*chain(*each.values())] for each in passes.values() if len(each) > 1]
