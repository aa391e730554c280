"""Ends what a chaos run started when the run itself is killed and cannot clean up.

``python reaper.py`` reads process ids, one a line; a negative one is forgotten. At the end of its
input, which is the end of whoever wrote it, it kills the process groups that are left.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

__all__ = ["Reaper"]


class Reaper:
    """The other end of the pipe."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-S", __file__],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is for the run
        )

    @classmethod
    @contextlib.contextmanager
    def open(cls) -> Iterator["Reaper"]:
        """Start it; at the end it kills what was not forgotten."""
        reaper = cls()
        try:
            yield reaper
        finally:
            reaper._child.communicate(timeout=10)

    def watch(self, pid: int) -> None:
        """Kill this process group if we end without ``forget``."""
        self._tell(pid)

    def forget(self, pid: int) -> None:
        """It has ended."""
        self._tell(-pid)

    def _tell(self, number: int) -> None:
        if self._child.stdin is not None:
            self._child.stdin.write(f"{number}\n")
            self._child.stdin.flush()


def _main() -> None:
    groups: set[int] = set()
    for line in sys.stdin:
        number = int(line)
        if number > 0:
            groups.add(number)
        else:
            groups.discard(-number)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    _main()
