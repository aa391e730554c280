"""When a lost worker is started again: decided from numbers alone."""

from collections import deque

from streamlabel.config.model import WorkerSettings

__all__ = ["RestartPolicy"]

# A machine that needs longer than this to recover does not gain from an even longer wait.
_MAX_BACKOFF_S = 30.0


class RestartPolicy:
    """Counts the losses of a worker in a sliding window.

    The wait doubles with every loss in the window, and is short again once the window has passed
    without any: a worker that dies twice a day is always back at once.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._losses: deque[float] = deque()

    @property
    def losses(self) -> int:
        """How many losses the window held at the last one."""
        return len(self._losses)

    def lost(self, *, now_s: float) -> float | None:
        """Record a loss (a death, a hang, a failed restart) and say what follows.

        Args:
            now_s: monotonic seconds, never less than at the call before.

        Returns:
            Seconds to wait before the next start, in [restart_backoff_s, 30]; None: give up,
            this loss is one more than max_restarts allows within restart_window_s.
        """
        self._losses.append(now_s)
        while now_s - self._losses[0] >= self._settings.restart_window_s:
            self._losses.popleft()
        if len(self._losses) > self._settings.max_restarts:
            return None
        # The exponent is bounded: max_restarts may be set to thousands, a float ends at 2**1024.
        doublings = min(len(self._losses) - 1, 32)
        longest = max(_MAX_BACKOFF_S, self._settings.restart_backoff_s)
        return min(self._settings.restart_backoff_s * 2.0**doublings, longest)
