"""One worker process and the connection to it; a replacement is a new object."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Final, Literal, Self, cast

from streamlabel.errors import ModelLoadError, StreamlabelError
from streamlabel.models.devices.device_memory import DeviceMemory
from streamlabel.models.worker import frames, packing, protocol
from streamlabel.models.worker.child_process import ChildProcess, adopt, spawn
from streamlabel.models.worker.early_process import Child, end_group
from streamlabel.models.worker.running_time import Deadline, Lateness, running_timeout
from streamlabel.models.worker.worker_loss import Loss, ended, is_stopped, left, overdue

__all__ = ["WorkerProcess"]

# A process that closed its socket is about to end, and its exit status gives the reason. Longer
# than an exit takes, but short for those who wait for the restart.
_EXIT_WAIT_S: Final = 2.0

# After SIGKILL only an uninterruptible driver call keeps a process alive.
_KILL_WAIT_S: Final = 10.0


class WorkerProcess:
    """A child of this process that runs ``process_main``.

    Order of calls: ``open``, ``load``, then ``run`` in a task of the owner while other tasks call
    ``request``; finally ``kill`` or ``close``, always followed by ``reap``.
    """

    def __init__(
        self,
        child: ChildProcess,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._child = child
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count()
        self._calls: dict[int, asyncio.Future[protocol.Answer]] = {}
        self._loss: Loss | None = None
        self._reaped = False

    @property
    def pid(self) -> int:
        """Its process id, and the id of its process group."""
        return self._child.pid

    @property
    def in_flight(self) -> int:
        """Requests without an answer."""
        return len(self._calls)

    @classmethod
    async def open(cls, early: Child | None = None) -> Self:
        """Start the process, or adopt one that was started; it then waits for its Hello.

        Raises:
            ModelLoadError: the operating system cannot start it.
        """
        return cls(*await (adopt(early) if early else spawn()))

    async def load(self, hello: protocol.Hello, *, timeout_s: float) -> protocol.Loaded:
        """Send the Hello and wait until the model is loaded.

        Raises:
            ConfigError, ModelLoadError: as the back end raised it.
            ModelLoadError: the process ended meanwhile, or ``timeout_s`` passed.
        """
        try:
            self._writer.write(frames.encode(hello))
            async with running_timeout(timeout_s):
                answer = await self._receive()
        except TimeoutError:
            raise ModelLoadError(
                f"the model was not loaded within {timeout_s:g} s: raise worker.load_timeout_s"
            ) from None
        except (asyncio.IncompleteReadError, OSError) as error:
            raise ModelLoadError(
                f"the worker process {await self._exit_status()} while it loaded the model;"
                " see its last lines on stderr"
            ) from error
        if isinstance(answer, protocol.Loaded):
            return answer
        raise cast("StreamlabelError", answer)

    async def run(self) -> Loss:
        """Pass replies to their callers until the process is lost; return the Loss.

        Unfinished calls stay open; the owner ends them with ``fail_calls``.
        """
        try:
            while True:
                message = await self._receive()
                if isinstance(message, protocol.Farewell):
                    self._loss = self._loss or left(message)
                    continue
                request_id, answer = cast("protocol.Reply", message)
                call = self._calls.pop(request_id, None)
                if call is not None and not call.done():  # its caller may have been cancelled
                    call.set_result(answer)
        except (asyncio.IncompleteReadError, OSError):
            return self._loss or Loss(await self._exit_status())

    async def request(
        self, kind: Literal["prepare", "classify"], body: protocol.Body, *, timeout_s: float
    ) -> packing.PackedPrepared | packing.PackedPredictions:
        """Send one request and return its answer.

        Raises:
            StreamlabelError: raised by the back end, or given to ``fail_calls``. The worker is
                killed if it does not answer within ``timeout_s``, counting only time in which both
                processes were running.
        """
        deadline = Deadline(
            timeout_s,
            lambda lateness: self._give_up_on(kind, timeout_s, lateness),
            is_stopped=lambda: is_stopped(self.pid),
        )
        try:
            answer = await self._ask(kind, body)
        finally:
            deadline.cancel()
        if isinstance(answer, StreamlabelError):
            raise answer
        return cast("packing.PackedPrepared | packing.PackedPredictions", answer)

    async def ping(self) -> None:
        """Return when its event loop has answered, which it does even while the device is busy.

        Raises:
            StreamlabelError: the process was lost; given to ``fail_calls``.
        """
        await self._ask("ping")

    async def device_memory(self) -> DeviceMemory | None:
        """Return the memory of its accelerator; None: it has none, or it is not known.

        Raises:
            StreamlabelError: as ``ping``.
        """
        answer = await self._ask("memory")
        return answer if isinstance(answer, DeviceMemory) else None

    async def _ask(self, kind: protocol.Kind, body: protocol.Body = None) -> protocol.Answer:
        request_id = next(self._ids)
        call: asyncio.Future[protocol.Answer] = asyncio.get_running_loop().create_future()
        self._calls[request_id] = call
        try:
            # No drain(): the service bounds the batches in flight, and so the size of this buffer.
            self._writer.write(frames.encode((request_id, kind, body)))
            return await call
        finally:
            self._calls.pop(request_id, None)

    def fail_calls(self, error: Callable[[], StreamlabelError]) -> None:
        """End every request in flight with a separate error."""
        for call in self._calls.values():
            if not call.done():
                call.set_exception(error())
        self._calls.clear()

    def kill(self) -> None:
        """End the process and its children immediately; ``run`` returns."""
        if self._reaped:  # its id may have been reused
            return
        self._writer.transport.abort()
        end_group(self._child.pid)

    async def close(self, *, grace_s: float) -> None:
        """Ask the process to release the device and exit; kill it after ``grace_s``."""
        try:
            self._writer.write(frames.encode((next(self._ids), "close", None)))
            async with asyncio.timeout(grace_s):
                await self._child.wait()
        except TimeoutError:
            return
        finally:
            self.kill()

    async def reap(self) -> bool:
        """Reap the killed process; False if it still does not end."""
        self.kill()
        try:
            async with asyncio.timeout(_KILL_WAIT_S):
                await self._child.wait()
        except TimeoutError:
            return False
        self._reaped = True
        return True

    async def _receive(self) -> object:
        (length,) = frames.HEADER.unpack(await self._reader.readexactly(frames.HEADER.size))
        return frames.decode(await self._reader.readexactly(length))

    def replace(self, why: str) -> None:
        """End the running process for a reason of the caller's, which ``run`` returns."""
        self._loss = self._loss or Loss(why)
        self.kill()

    def _give_up_on(self, kind: str, timeout_s: float, lateness: Lateness) -> None:
        self._loss = self._loss or overdue(kind, timeout_s, lateness)
        self.kill()

    async def _exit_status(self) -> str:
        try:
            async with asyncio.timeout(_EXIT_WAIT_S):
                status = await self._child.wait()
        except TimeoutError:
            return "closed its connection"
        return ended(status)
