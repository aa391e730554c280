"""The service's classifier, which forwards calls to the model in a worker process.

The event loop never blocks on a device, and a crash, a hang or the kernel's out-of-memory killer
affects a batch, not the service.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal, Self, cast

import structlog

from streamlabel.config.model import ModelSettings
from streamlabel.config.task import task_name
from streamlabel.config.worker import WorkerSettings
from streamlabel.errors import (
    InferenceError,
    ModelError,
    StreamlabelError,
    WorkerGaveUpError,
)
from streamlabel.models.core.classifier import BatchHints, ModelIdentity, Prediction, PreparedText
from streamlabel.models.core.clock import Clock
from streamlabel.models.core.joint import Head
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.core.system_clock import SystemClock
from streamlabel.models.devices.device_memory import DeviceMemory
from streamlabel.models.worker import packing, protocol
from streamlabel.models.worker.early_process import EarlyProcess
from streamlabel.models.worker.load_wait import log_wait, told
from streamlabel.models.worker.process import WorkerProcess
from streamlabel.models.worker.restart_policy import RestartPolicy

__all__ = ["WorkerClassifier"]

log = structlog.get_logger(__name__)


class WorkerClassifier:
    """Proxy of a Classifier in a worker process; created by ``start``.

    When the worker is lost, all calls in flight raise WorkerError; it is restarted in the
    background, and new calls wait for the restart.
    """

    def __init__(
        self,
        process: WorkerProcess,
        *,
        hello: protocol.Hello,
        loaded: protocol.Loaded,
        settings: WorkerSettings,
        clock: Clock,
        on_loss: Callable[[str], None],
        on_restart: Callable[[str], None],
        close_grace_s: float,
    ) -> None:
        self._process: WorkerProcess | None = process
        self._hello = hello
        self._loaded = loaded
        self._settings = settings
        self._clock = clock
        self._on_loss = on_loss
        self._on_restart = on_restart
        self._close_grace_s = close_grace_s
        self._policy = RestartPolicy(settings)
        self._searches = 0
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
        on_loss: Callable[[str], None] = lambda _why: None,
        on_restart: Callable[[str], None] = lambda _why: None,
        on_wait: Callable[[float], None] | None = None,
        others: Sequence[ModelSettings] = (),
        early: EarlyProcess | None = None,
        clock: Clock | None = None,
        close_grace_s: float = 10.0,
    ) -> Self:
        """Start the process and return when the model is loaded.

        Args:
            model: the settings of the model; sent over the socket, because they may contain
                secrets.
            settings: deadlines and restarts.
            configure_logging: called in the worker before anything else; must be picklable.
            on_loss: called as soon as a worker is lost, with the reason as a clause such as "was
                ended by SIGKILL".
            on_restart: called with the same reason after the replacement.
            on_wait: called at intervals while the model is loading, with the seconds so far;
                default: logs them.
            others: models that the same process computes together with it.
            early: a process that has started already; it is taken if it is for this back end.
            clock: for restarts; default: the system clock.
            close_grace_s: time for the worker to release the device in ``close``.

        Raises:
            ConfigError, ModelLoadError: the model cannot be loaded.
        """
        hello = protocol.Hello(model, configure_logging, tuple(others))
        process, loaded = await told(_load(hello, settings, early), on_wait or log_wait(model))
        task = {"task": name} if (name := task_name(model)) else {}
        log.info("worker_started", worker_pid=process.pid, model=loaded.identity.name, **task)
        return cls(
            process,
            hello=hello,
            loaded=loaded,
            settings=settings,
            clock=clock or SystemClock(),
            on_loss=on_loss,
            on_restart=on_restart,
            close_grace_s=close_grace_s,
        )

    @property
    def labels(self) -> LabelSet:
        """The labels of the model; the same after every restart."""
        return self._loaded.labels

    @property
    def identity(self) -> ModelIdentity:
        """The identity of the model; the same after every restart."""
        return self._loaded.identity

    @property
    def hints(self) -> BatchHints:
        """The hints of the back end."""
        return self._loaded.hints

    @property
    def heads(self) -> tuple[Head, ...]:
        """The models that are computed together; none: there is only one."""
        return self._loaded.heads

    @property
    def is_up(self) -> bool:
        """Whether a worker process exists; ``answers`` tests whether it responds."""
        return self._process is not None and not self._closed

    async def answers(self, *, within_s: float) -> bool:
        """Return whether the worker answers a ping within ``within_s``; does not end it if not.

        An existing process may be stopped or waiting for memory.
        """
        process = self._process
        if process is None or self._closed:
            return False
        try:
            async with asyncio.timeout(within_s):
                await process.ping()
        except (TimeoutError, StreamlabelError):
            return False
        return process is self._process  # it may have been lost directly after its answer

    async def device_memory(self, *, within_s: float) -> DeviceMemory | None:
        """Return the memory of its accelerator; None: it has none, or does not answer in time."""
        process = self._process
        if process is None or self._closed:
            return None
        try:
            async with asyncio.timeout(within_s):
                return await process.device_memory()
        except (TimeoutError, StreamlabelError):
            return None

    @property
    def pid(self) -> int | None:
        """Process id of the worker; None while there is none."""
        return None if self._process is None else self._process.pid

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """See Classifier; the payloads are bytes that only the worker reads.

        Raises:
            WorkerError: the worker was lost meanwhile; call again.
            WorkerGaveUpError: it was lost too often; drain and exit.
        """
        packed = await self._call("prepare", list(texts))
        return packing.unpack_prepared(cast("packing.PackedPrepared", packed))

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """See Classifier."""
        packed = await self._call("classify", packing.pack_prepared(prepared))
        return packing.unpack_predictions(cast("packing.PackedPredictions", packed))

    async def until_up(self) -> None:
        """Wait until a worker has restarted, or restarting has been given up."""
        while self._process is None and not self._closed and self._gave_up is None:
            await self._changed.wait()

    @contextmanager
    def search(self) -> Iterator[None]:
        """Within this context losses do not count towards ``worker.max_restarts``."""
        self._searches += 1
        try:
            yield
        finally:
            self._searches -= 1

    def forgive(self, loss: int) -> None:
        """Do not count a loss, because a text caused it."""
        self._policy.forgive(loss)

    def renew(self, why: str) -> None:
        """Replace a process that runs but does not work; counts as a loss."""
        if self._process is not None:
            self._process.replace(why)

    async def close(self) -> None:
        """Ask the worker to release the device and exit; kill it if it does not."""
        self._closed = True
        self._changed.set()
        if self._process is not None:
            self._process.fail_calls(lambda: ModelError("the classifier was closed"))
            await self._process.close(grace_s=self._close_grace_s)
        else:
            self._supervisor.cancel()
        await asyncio.wait([self._supervisor])
        if not self._supervisor.cancelled():
            self._supervisor.result()  # raises the exception of a bug in the supervision

    async def _call(
        self, kind: Literal["prepare", "classify"], body: protocol.Body
    ) -> packing.PackedPrepared | packing.PackedPredictions:
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
        """Restart the worker when it is lost, until ``close`` or until it was lost too often."""
        try:
            while True:
                lost = await process.run()
                if self._closed:
                    return
                self._process = None
                self._changed.clear()
                why, calls = lost.why, process.in_flight
                self._on_loss(why)  # first, so that the readiness probe agrees with the log
                log.error("worker_lost", worker_pid=process.pid, why=why, calls=calls)
                wait_s = self._policy.lost(now_s=self._clock.now_s(), counts=not self._searches)
                process.fail_calls(
                    partial(lost.error, f"the worker process {why}", self._policy.last)
                )
                await _end(process)
                replacement = await self._replace(why, wait_s)
                if replacement is None:
                    return
                self._process = process = replacement
                self._changed.set()
                log.info("worker_restarted", worker_pid=process.pid)
                self._on_restart(why)
        finally:
            # Also on cancellation and after a bug: no call may wait for a worker that never starts.
            self._gave_up = self._gave_up or "the worker process is no longer supervised"
            self._process = None
            self._changed.set()
            process.fail_calls(partial(WorkerGaveUpError, self._gave_up))
            await _end(process)

    async def _replace(self, why: str, wait_s: float | None) -> WorkerProcess | None:
        """Start a new process with the same model; None, and ``_gave_up`` set, if that fails."""
        while wait_s is not None:
            log.info("worker_restart_scheduled", wait_s=wait_s, losses=self._policy.losses)
            await self._clock.sleep(wait_s)
            try:
                process, loaded = await _load(self._hello, self._settings)
            except StreamlabelError as error:
                why = f"could not be restarted: {error}"
                log.error("worker_restart_failed", error=str(error))
                wait_s = self._policy.lost(now_s=self._clock.now_s())
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


async def _load(
    hello: protocol.Hello, settings: WorkerSettings, early: EarlyProcess | None = None
) -> tuple[WorkerProcess, protocol.Loaded]:
    process = await WorkerProcess.open(early.take(hello.model.backend) if early else None)
    try:
        return process, await process.load(hello, timeout_s=settings.load_timeout_s)
    except BaseException:
        await _end(process)
        raise


async def _end(process: WorkerProcess) -> None:
    if not await process.reap():
        log.error("worker_does_not_end", worker_pid=process.pid, advice="a driver call hangs")


def _same_model(one: protocol.Loaded, other: protocol.Loaded) -> bool:
    return one.labels == other.labels and one.identity.digest == other.identity.digest
