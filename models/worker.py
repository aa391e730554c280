"""The classifier that the service sees: runs the real one in a process that may die.

The event loop never blocks on a device, and a crash, a hang or the kernel's out-of-memory killer
costs a batch, not the service.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, Self, cast

import structlog

from streamlabel.config.model import ModelSettings, WorkerSettings
from streamlabel.errors import (
    InferenceError,
    ModelError,
    StreamlabelError,
    WorkerError,
    WorkerGaveUpError,
)
from streamlabel.models import wire
from streamlabel.models.base import ModelInfo, Prediction, PreparedText
from streamlabel.models.labels import LabelSet
from streamlabel.models.restarts import RestartPolicy
from streamlabel.models.worker_process import WorkerProcess

__all__ = ["RestartClock", "WorkerClassifier"]

log = structlog.get_logger(__name__)


class RestartClock(Protocol):
    """The part of the Clock port that restarts need."""

    def now_s(self) -> float:
        """Monotonic seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class _SystemClock:
    def now_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class WorkerClassifier:
    """Proxy of a Classifier in a worker process; made by ``start``.

    When the worker is lost, all calls in flight raise WorkerError; it is started again in the
    background, and calls made meanwhile wait for that.
    """

    def __init__(
        self,
        process: WorkerProcess,
        *,
        hello: wire.Hello,
        loaded: wire.Loaded,
        settings: WorkerSettings,
        clock: RestartClock,
        on_restart: Callable[[str], None],
        close_grace_s: float,
    ) -> None:
        self._process: WorkerProcess | None = process
        self._hello = hello
        self._loaded = loaded
        self._settings = settings
        self._clock = clock
        self._on_restart = on_restart
        self._close_grace_s = close_grace_s
        self._policy = RestartPolicy(settings)
        self._gave_up: str | None = None
        self._closed = False
        self._changed = asyncio.Event()
        self._changed.set()
        self._supervisor = asyncio.create_task(self._supervise(process), name="worker")

    @classmethod
    async def start(
        cls,
        model: ModelSettings,
        settings: WorkerSettings,
        *,
        configure_logging: Callable[[], None] | None = None,
        on_restart: Callable[[str], None] = lambda _why: None,
        clock: RestartClock | None = None,
        close_grace_s: float = 10.0,
    ) -> Self:
        """Start the process and return when the model is loaded.

        Args:
            model: which model; travels over the socket, as it may hold secrets.
            settings: deadlines and restarts.
            configure_logging: called in the worker before anything else; must pickle.
            on_restart: called with the reason, a clause such as "was ended by SIGKILL", each time
                a lost worker has been replaced.
            clock: for restarts; default: the system's.
            close_grace_s: ``close`` gives the worker this long to release the device.

        Raises:
            ConfigError, ModelLoadError: refuse to start.
        """
        hello = wire.Hello(model, configure_logging)
        process, loaded = await _load(hello, settings)
        log.info("worker_started", worker_pid=process.pid, model=loaded.info.name)
        return cls(
            process,
            hello=hello,
            loaded=loaded,
            settings=settings,
            clock=clock or _SystemClock(),
            on_restart=on_restart,
            close_grace_s=close_grace_s,
        )

    @property
    def labels(self) -> LabelSet:
        """Of the model; the same after every restart."""
        return self._loaded.labels

    @property
    def info(self) -> ModelInfo:
        """Of the model; the same after every restart."""
        return self._loaded.info

    @property
    def max_in_flight(self) -> int:
        """As the back end wants it."""
        return self._loaded.max_in_flight

    @property
    def is_up(self) -> bool:
        """Whether a worker is there to take calls: for readiness and the ``worker_up`` gauge."""
        return self._process is not None and not self._closed

    @property
    def pid(self) -> int | None:
        """Process id of the worker; None while there is none."""
        return None if self._process is None else self._process.pid

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """As promised by Classifier; the payloads are bytes that only the worker reads.

        Raises:
            WorkerError: the worker was lost meanwhile; call again.
            WorkerGaveUpError: it was lost too often; drain and exit.
        """
        packed = await self._call("prepare", list(texts))
        return wire.unpack_prepared(cast("wire.PackedPrepared", packed))

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """As promised by Classifier."""
        packed = await self._call("classify", wire.pack_prepared(prepared))
        return wire.unpack_predictions(cast("wire.PackedPredictions", packed))

    async def close(self) -> None:
        """Ask the worker to release the device and leave; kill it if it does not."""
        self._closed = True
        self._changed.set()
        if self._process is not None:
            self._process.fail_calls(ModelError, "the classifier was closed")
            await self._process.close(grace_s=self._close_grace_s)
        else:
            self._supervisor.cancel()
        await asyncio.wait([self._supervisor])
        if not self._supervisor.cancelled():
            self._supervisor.result()  # a bug in the supervision surfaces here at the latest

    async def _call(
        self, kind: Literal["prepare", "classify"], body: wire.Body
    ) -> wire.PackedPrepared | wire.PackedPredictions:
        while (process := self._available()) is None:
            await self._changed.wait()
        return await process.request(kind, body, timeout_s=self._settings.batch_timeout_s)

    def _available(self) -> WorkerProcess | None:
        if self._closed:
            raise ModelError("the classifier is closed")
        if self._gave_up is not None:
            raise WorkerGaveUpError(self._gave_up)
        return self._process

    async def _supervise(self, process: WorkerProcess) -> None:
        """Hold a worker up until ``close``, or until it has been lost too often."""
        try:
            while True:
                why = await process.run()
                if self._closed:
                    return
                self._process = None
                self._changed.clear()
                log.error("worker_lost", worker_pid=process.pid, why=why, calls=process.in_flight)
                process.fail_calls(WorkerError, f"the worker process {why}")
                await _end(process)
                replacement = await self._replace(why)
                if replacement is None:
                    return
                self._process = process = replacement
                self._changed.set()
                log.info("worker_restarted", worker_pid=process.pid)
                self._on_restart(why)
        finally:
            # Also on cancellation and on a bug: nobody may wait for a worker that never comes.
            self._gave_up = self._gave_up or "the worker process is no longer supervised"
            self._process = None
            self._changed.set()
            process.fail_calls(WorkerGaveUpError, self._gave_up)
            await _end(process)

    async def _replace(self, why: str) -> WorkerProcess | None:
        """Start a new process with the same model; None, and ``_gave_up`` set, if that fails."""
        while (wait_s := self._policy.lost(now_s=self._clock.now_s())) is not None:
            log.info("worker_restart_scheduled", wait_s=wait_s, losses=self._policy.losses)
            await self._clock.sleep(wait_s)
            try:
                process, loaded = await _load(self._hello, self._settings)
            except StreamlabelError as error:
                why = f"could not be started again: {error}"
                log.error("worker_restart_failed", error=str(error))
                continue
            if _same_model(loaded, self._loaded):
                return process
            await _end(process)
            self._gave_up = (
                "the model changed while the service was running (labels or digest differ after a"
                " restart of the worker); restart the service to use the new one"
            )
            return None
        self._gave_up = (
            f"the worker process was lost {self._policy.losses} times within"
            f" {self._settings.restart_window_s:g} s (worker.max_restarts ="
            f" {self._settings.max_restarts}); the last time it {why}"
        )
        log.error("worker_gave_up", losses=self._policy.losses, why=why)
        return None


async def _load(hello: wire.Hello, settings: WorkerSettings) -> tuple[WorkerProcess, wire.Loaded]:
    process = await WorkerProcess.spawn()
    try:
        return process, await process.load(hello, timeout_s=settings.load_timeout_s)
    except BaseException:
        await _end(process)
        raise


async def _end(process: WorkerProcess) -> None:
    if not await process.reap():
        log.error("worker_does_not_end", worker_pid=process.pid, advice="a driver call hangs")


def _same_model(one: wire.Loaded, other: wire.Loaded) -> bool:
    return one.labels == other.labels and one.info.digest == other.info.digest
