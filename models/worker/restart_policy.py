"""Decides when a lost worker is restarted; without I/O or clock."""

from collections import deque

from streamlabel.config.worker import WorkerSettings

__all__ = ["RestartPolicy"]

# Longer waits do not help a machine that needs longer than this to recover.
_MAX_BACKOFF_S = 30.0


class RestartPolicy:
    """Counts the losses of a worker in a sliding window.

    The wait doubles with every loss in the window, and is short again after a window without
    losses, so a worker that ends twice a day is always restarted immediately.

    Attributes:
        last: number of the last loss; they are counted from 1.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._counted: deque[tuple[int, float]] = deque()  # number and time
        self.last = 0

    @property
    def losses(self) -> int:
        """Number of counted losses in the window at the time of the last loss."""
        return len(self._counted)

    def lost(self, *, now_s: float, counts: bool = True) -> float | None:
        """Record a loss (an exit, a hang, a failed restart) and return when to restart.

        Args:
            now_s: monotonic seconds, never less than in the previous call.
            counts: False while failure isolation looks for a text that ends the worker.

        Returns:
            Seconds to wait before the next start, in [restart_backoff_s, 30]; None to give up,
            because there were more than max_restarts losses within restart_window_s.
        """
        self.last += 1
        if not counts:
            return self._settings.restart_backoff_s
        self._counted.append((self.last, now_s))
        while now_s - self._counted[0][1] >= self._settings.restart_window_s:
            self._counted.popleft()
        if len(self._counted) > self._settings.max_restarts:
            return None
        # The exponent is bounded: max_restarts may be in the thousands, and floats overflow at
        # 2**1024.
        doublings = min(len(self._counted) - 1, 32)
        longest = max(_MAX_BACKOFF_S, self._settings.restart_backoff_s)
        return min(self._settings.restart_backoff_s * 2.0**doublings, longest)

    def forgive(self, loss: int) -> None:
        """Do not count a loss, after a text has been found to be its cause."""
        self._counted = deque(entry for entry in self._counted if entry[0] != loss)
