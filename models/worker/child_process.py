"""The child process of a worker, for asyncio: started in its loop, or before there was one."""

import asyncio
import socket
import subprocess
from typing import Final, Protocol

from streamlabel.errors import ModelLoadError
from streamlabel.models.worker.early_process import Child, command, end_group

__all__ = ["ChildProcess", "Connected", "adopt", "spawn"]

# Interval at which a process that started before the event loop is asked whether it has ended. Only
# while somebody waits for that, which is seconds at most.
_ENDED_INTERVAL_S: Final = 0.005


class ChildProcess(Protocol):
    """A child process; ``asyncio.subprocess.Process`` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    async def wait(self) -> int:
        """Return its exit status when it has ended; a signal's number is negative."""
        ...


# A process and our end of the connection to it.
Connected = tuple[ChildProcess, asyncio.StreamReader, asyncio.StreamWriter]


class _Started:
    """A child process that started before the event loop."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid

    async def wait(self) -> int:
        while (status := self._process.poll()) is None:  # noqa: ASYNC110 nothing sets an event
            await asyncio.sleep(_ENDED_INTERVAL_S)
        return status


async def adopt(child: Child) -> Connected:
    """Connect to a process that was started earlier; it is killed if this is cancelled."""
    process = _Started(child.process)
    try:
        reader, writer = await asyncio.open_connection(sock=child.connection)
    except BaseException:
        child.connection.close()
        end_group(process.pid)
        await process.wait()  # killed: it ends at once
        raise
    return process, reader, writer


async def spawn() -> Connected:
    """Start a process, which then waits for its Hello.

    Raises:
        ModelLoadError: the operating system cannot start it.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            words = await asyncio.to_thread(command, theirs.fileno())  # reads the disk
            # The last step: if it is cancelled, asyncio kills and reaps the child.
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=2,  # libraries print; this keeps the service's stdout clean
                pass_fds=[theirs.fileno()],
                process_group=0,  # no Ctrl-C, and killed together with its children
            )
        except OSError as error:
            writer.transport.abort()
            raise ModelLoadError(f"the worker process cannot be started: {error}") from error
        except BaseException:
            writer.transport.abort()
            raise
    return process, reader, writer
