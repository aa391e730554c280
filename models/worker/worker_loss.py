"""The loss of a worker process: its reason in words, and the error for its calls."""

import os
import signal
from dataclasses import dataclass

from streamlabel.errors import DeviceLostError, WorkerError, WorkerHungError, WorkerStoppedError
from streamlabel.models.worker import protocol
from streamlabel.models.worker.running_time import Lateness

__all__ = ["Loss", "ended", "is_stopped", "left", "overdue"]


@dataclass(frozen=True, slots=True)
class Loss:
    """One loss.

    Attributes:
        why: a clause, such as "was ended by SIGKILL".
        error: the error that its calls raise.
    """

    why: str
    error: type[WorkerError] = WorkerError


def left(farewell: protocol.Farewell) -> Loss:
    """Return the loss of a worker that has sent the reason for its end."""
    return Loss(farewell.why, DeviceLostError if farewell.device_lost else WorkerError)


def overdue(kind: str, timeout_s: float, lateness: Lateness) -> Loss:
    """Return the loss of a worker that was killed because a request had no answer."""
    if lateness == "stopped":
        why = f"was stopped from outside for {timeout_s:g} s and was killed"
        return Loss(why, WorkerStoppedError)
    why = f"did not answer a {kind} request within {timeout_s:g} s and was killed"
    return Loss(why, WorkerHungError)


def ended(status: int) -> str:
    """Return the clause for an exit status, as ``asyncio`` gives it."""
    if status >= 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name
    return f"was ended by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"


def is_stopped(pid: int) -> bool:
    """Return whether a signal has stopped a child process (SIGSTOP); does not reap it."""
    try:
        state = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # it has ended already
        return False
    return state is not None
