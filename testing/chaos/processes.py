"""Service processes that a test starts, kills, stops and continues; the real program, unchanged."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from testing.kafka_broker import wait_until

__all__ = ["RUN", "ServiceProcess"]

# What users run; a negative control runs a module of its own instead.
RUN: Sequence[str] = (sys.executable, "-m", "streamlabel", "run")

_GONE_WITHIN_S = 10.0
_DRAINED_WITHIN_S = 90.0


class ServiceProcess:
    """One process of the service with its worker process.

    Args:
        config: path of its YAML.
        log: where its output goes; appended to.
        command: without ``-c CONFIG``.

    Attributes:
        pid: of the service.
        started_s: monotonic.
    """

    def __init__(self, config: Path, log: Path, *, command: Sequence[str] = RUN) -> None:
        self.log = log
        self._log_read_to = log.stat().st_size if log.exists() else 0
        self._events: Counter[str] = Counter()
        self._owned: set[int] = set()
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                [*command, "-c", str(config)],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
            )
        self.pid = self._child.pid
        self.started_s = time.monotonic()
        self._workers: set[psutil.Process] = set()

    @property
    def is_running(self) -> bool:
        """Not ended yet (it may be stopped)."""
        return self._child.poll() is None

    @property
    def exit_code(self) -> int | None:
        """As ``Popen.returncode``: minus the signal that killed it."""
        return self._child.poll()

    def workers(self) -> list[psutil.Process]:
        """Worker processes alive now."""
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.pid).children(recursive=True)
            self._workers.update(children)
        return [worker for worker in self._workers if _is_alive(worker)]

    def said(self, event: str) -> int:
        """How many lines of this process's log name ``event``."""
        self._read_log()
        return self._events[event]

    def owned(self) -> set[int]:
        """Input partitions it works on, as far as its log says."""
        self._read_log()
        return set(self._owned) if self.is_running else set()

    def _read_log(self) -> None:
        with self.log.open("rb") as log:
            log.seek(self._log_read_to)
            for line in log:
                if not line.endswith(b"\n"):
                    break  # still being written
                self._log_read_to += len(line)
                if line.startswith(b"{"):
                    self._note(json.loads(line))

    def _note(self, line: dict[str, Any]) -> None:
        event = line["event"]
        self._events[event] += 1
        if event == "partitions_assigned":
            self._owned.update(line["partitions"])
        elif event == "partitions_revoked":
            self._owned.difference_update(line["partitions"])

    def kill(self) -> None:
        """SIGKILL to the service alone; the worker must notice by itself."""
        self.workers()
        self._child.kill()
        self._child.wait(_GONE_WITHIN_S)

    def kill_worker(self) -> bool:
        """SIGKILL to the worker; False if there was none."""
        workers = self.workers()
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
        return bool(workers)

    def terminate(self) -> None:
        """SIGTERM: asks for the drain; see ``wait``."""
        self.workers()
        self._child.terminate()

    def pause(self) -> None:
        """SIGSTOP, to the service alone: its worker and its connections stay."""
        self._child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._child.send_signal(signal.SIGCONT)

    def wait(self, timeout_s: float = _DRAINED_WITHIN_S) -> int:
        """Return the exit code. A stopped process is continued: it could not end otherwise.

        Raises:
            TimeoutError: it did not end; it is killed.
        """
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(signal.SIGCONT)
        try:
            return self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"process {self.pid} did not end within {timeout_s} s") from None

    def close(self) -> None:
        """Leave nothing behind, whatever state it is in."""
        if self.is_running:
            self.kill()
        for worker in self.workers():
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()

    def wait_workers_gone(self) -> None:
        """Fail unless the workers end with their service."""
        wait_until(lambda: not self.workers(), what="the workers are gone", timeout_s=20)


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    return False
