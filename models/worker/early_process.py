"""A worker process that starts before its service has read its settings and imported its modules.

Both take about as long as the imports of a worker, so that they overlap on two cores. This module
imports the standard library only, because it is used before anything else.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from streamlabel.models.worker import frames

__all__ = ["Child", "EarlyProcess", "Imports", "command", "end_group", "module_command"]

_MODULE: Final = "streamlabel.models.worker.process_main"


@dataclass(frozen=True, slots=True)
class Imports:
    """An optional frame before the Hello, to the worker: what to import while it waits for that.

    Attributes:
        backend: of the model that will be loaded.
        configure_logging: as in Hello; before the imports, because libraries warn.
    """

    backend: str
    configure_logging: Callable[[], None] | None


class Child(NamedTuple):
    """A process that runs ``process_main``, and our end of its connection."""

    process: subprocess.Popen[bytes]
    connection: socket.socket


class EarlyProcess:
    """A worker process that waits for its Hello; a context manager that ends it if nobody took it.

    If the operating system cannot start one, there is none: the error is reported where the worker
    is needed.
    """

    def __init__(self) -> None:
        self._child: Child | None = None
        self._backend = ""

    def __enter__(self) -> Self:
        """Start it."""
        with suppress(OSError):
            self._child = _start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Kill it, unless it was taken."""
        child, self._child = self._child, None
        if child is not None:
            child.connection.close()
            end_group(child.process.pid)
            child.process.wait()

    def import_for(self, backend: str, configure_logging: Callable[[], None] | None) -> None:
        """Let it import what a back end needs; only that back end can be loaded then.

        Args:
            backend: of the model that will be loaded.
            configure_logging: called before the imports; picklable. None: plain lines on stderr.
        """
        self._backend = backend
        if self._child is not None:
            # a worker that has ended meanwhile is noticed when it shall load the model
            with suppress(OSError):
                imports = Imports(backend, configure_logging)
                self._child.connection.sendall(frames.encode(imports))

    def take(self, backend: str) -> Child | None:
        """Return it, for a model of this back end; the caller ends it.

        None: it was not started, has been taken already, or prepares for another back end.
        """
        if backend != self._backend:
            return None
        child, self._child = self._child, None
        return child


def _start() -> Child:
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(  # noqa: S603 this program itself
                command(theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=2,  # libraries print; this keeps the service's stdout clean
                pass_fds=[theirs.fileno()],
                process_group=0,  # no Ctrl-C, and killed together with its children
            )
        except BaseException:
            ours.close()
            raise
    return Child(process, ours)


def command(connection: int) -> list[str]:
    """Return the command of a worker process that inherits this end of its connection."""
    return module_command(_MODULE, str(connection))


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this program in a process of its own."""
    # -m adds the current directory to the import path; do so only if this process has it as well.
    has_cwd = any(not entry or Path(entry) == Path.cwd() for entry in sys.path)
    flags = [] if has_cwd else ["-P"]
    return [sys.executable, *flags, "-m", module, *arguments]


def end_group(pid: int) -> None:
    """Kill a worker process together with its children."""
    # The whole process group, because engines start child processes. It may have ended; macOS says
    # EPERM for a group of zombies.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
