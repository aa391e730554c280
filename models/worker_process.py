"""One worker process and the connection to it: started once, lost once."""

import asyncio
import itertools
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, Self, cast

from streamlabel.errors import ModelLoadError, StreamlabelError
from streamlabel.models import wire

__all__ = ["WorkerProcess"]

_MODULE: Final = "streamlabel.models.worker_main"

# A process that closed its socket is about to end; its exit status says why. Longer than that
# takes, short against everything that waits for the restart.
_EXIT_WAIT_S: Final = 2.0

# After SIGKILL only a driver call that cannot be interrupted keeps a process alive.
_KILL_WAIT_S: Final = 10.0


class WorkerProcess:
    """A child of this process that runs ``worker_main``.

    Order of calls: ``spawn``, ``load``, then ``run`` in a task of the owner while others
    ``request``, in the end ``kill`` or ``close``, always followed by ``reap``.
    """

    def __init__(
        self,
        child: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._child = child
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count()
        self._calls: dict[int, asyncio.Future[wire.Answer]] = {}
        self._overdue: str | None = None
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
    async def spawn(cls) -> Self:
        """Start the process; it waits for its Hello.

        Raises:
            ModelLoadError: the operating system refuses.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            try:
                command = await asyncio.to_thread(_command, theirs.fileno())  # reads the disk
                # The last step: if it is cancelled, asyncio kills and collects the child.
                child = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=2,  # libraries print; the service's own stdout stays clean
                    pass_fds=[theirs.fileno()],
                    process_group=0,  # away from Ctrl-C, and killed together with its own children
                )
            except OSError as error:
                writer.transport.abort()
                raise ModelLoadError(f"the worker process cannot be started: {error}") from error
            except BaseException:
                writer.transport.abort()
                raise
        return cls(child, reader, writer)

    async def load(self, hello: wire.Hello, *, timeout_s: float) -> wire.Loaded:
        """Send what to load and wait until the model is ready.

        Raises:
            ConfigError, ModelLoadError: as the back end raised it.
            ModelLoadError: the process ended meanwhile, or ``timeout_s`` passed.
        """
        try:
            self._writer.write(wire.encode(hello))
            async with asyncio.timeout(timeout_s):
                answer = await self._receive()
        except TimeoutError:
            raise ModelLoadError(
                f"the model was not loaded within {timeout_s:g} s: raise worker.load_timeout_s"
            ) from None
        except (asyncio.IncompleteReadError, OSError) as error:
            raise ModelLoadError(
                f"the worker process {await self._exit_status()} while it loaded the model;"
                " its last words are on stderr"
            ) from error
        if isinstance(answer, wire.Loaded):
            return answer
        raise cast("StreamlabelError", answer)

    async def run(self) -> str:
        """Pass answers to their callers until the process is lost; return why, as a clause.

        The calls that are left stay open: the owner ends them with ``fail_calls``.
        """
        try:
            while True:
                request_id, answer = cast("wire.Reply", await self._receive())
                call = self._calls.pop(request_id, None)
                if call is not None and not call.done():  # its caller may have left
                    call.set_result(answer)
        except (asyncio.IncompleteReadError, OSError):
            return self._overdue or await self._exit_status()

    async def request(
        self, kind: Literal["prepare", "classify"], body: wire.Body, *, timeout_s: float
    ) -> wire.PackedPrepared | wire.PackedPredictions:
        """Send one request and return its answer.

        Raises:
            StreamlabelError: as the back end raised it, or as ``fail_calls`` said. A request
                that is not answered within ``timeout_s`` kills the process.
        """
        request_id = next(self._ids)
        loop = asyncio.get_running_loop()
        call: asyncio.Future[wire.Answer] = loop.create_future()
        deadline = loop.call_later(timeout_s, self._give_up_on, kind, timeout_s)
        self._calls[request_id] = call
        try:
            # Not drained: what the service has in flight is bounded, and so is this buffer.
            self._writer.write(wire.encode((request_id, kind, body)))
            answer = await call
        finally:
            deadline.cancel()
            self._calls.pop(request_id, None)
        if isinstance(answer, StreamlabelError):
            raise answer
        return answer

    def fail_calls(self, error: type[StreamlabelError], message: str) -> None:
        """End every request in flight with an error of its own."""
        for call in self._calls.values():
            if not call.done():
                call.set_exception(error(message))
        self._calls.clear()

    def kill(self) -> None:
        """End the process and its children at once; ``run`` returns."""
        if self._reaped:  # its id may belong to another process by now
            return
        self._writer.transport.abort()
        # The group, not the process: engines start processes of their own. It may be gone.
        try:
            os.killpg(self._child.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
            return

    async def close(self, *, grace_s: float) -> None:
        """Ask the process to release the device and leave; kill it after ``grace_s``."""
        try:
            self._writer.write(wire.encode((next(self._ids), "close", None)))
            async with asyncio.timeout(grace_s):
                await self._child.wait()
        except TimeoutError:
            return
        finally:
            self.kill()

    async def reap(self) -> bool:
        """Collect the killed process; False if it does not end even now."""
        self.kill()
        try:
            async with asyncio.timeout(_KILL_WAIT_S):
                await self._child.wait()
        except TimeoutError:
            return False
        self._reaped = True
        return True

    async def _receive(self) -> object:
        (length,) = wire.HEADER.unpack(await self._reader.readexactly(wire.HEADER.size))
        return wire.decode(await self._reader.readexactly(length))

    def _give_up_on(self, kind: str, timeout_s: float) -> None:
        self._overdue = f"did not answer a {kind} request within {timeout_s:g} s and was killed"
        self.kill()

    async def _exit_status(self) -> str:
        try:
            async with asyncio.timeout(_EXIT_WAIT_S):
                status = await self._child.wait()
        except TimeoutError:
            return "closed its connection"
        if status < 0:
            name = signal.Signals(-status).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return f"was ended by {name}{hint}"
        return f"ended with status {status}"


def _command(connection: int) -> Sequence[str]:
    # -m puts the current directory on the import path: only where this process has it as well.
    has_cwd = any(not entry or Path(entry) == Path.cwd() for entry in sys.path)
    flags = [] if has_cwd else ["-P"]
    return [sys.executable, *flags, "-m", _MODULE, str(connection)]
