"""Deadlines that count only time in which the processes were running.

A stopped service (SIGSTOP, a debugger, a frozen container, a suspended machine) cannot receive a
reply, and a stopped worker cannot compute one. Time that passes meanwhile does not mean that a text
makes the model hang.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Literal

__all__ = ["Deadline", "Lateness", "RunningTime", "running_timeout"]

# Interval between checks; a pause is detected if it is longer than twice this.
_TICK_S: Final = 1.0
_SHORTEST_TICK_S: Final = 0.05  # delay of a busy event loop; shorter limits are checked once

Lateness = Literal["hung", "stopped"]


class RunningTime:
    """Adds up running time from periodic checks of a clock; pure.

    Args:
        limit_s: limit of running time.

    Attributes:
        tick_s: interval until the next check.
    """

    def __init__(self, limit_s: float) -> None:
        self.tick_s = min(_TICK_S, max(limit_s / 8, _SHORTEST_TICK_S), limit_s)
        self._limit_s = limit_s
        self._ran_s = 0.0
        self._stopped_s = 0.0
        self._was_paused = False

    def looked(self, elapsed_s: float, *, is_stopped: bool) -> Lateness | None:
        """Count the time since the last check.

        Args:
            elapsed_s: since the last check, by the clock.
            is_stopped: a signal has stopped the process that should reply.

        Returns:
            ``hung`` if it ran for ``limit_s``, ``stopped`` if it was stopped for as long, None to
            continue waiting.
        """
        is_first_pause = elapsed_s > 2 * self.tick_s and not self._was_paused
        self._was_paused = elapsed_s > 2 * self.tick_s
        if is_stopped:
            self._stopped_s += min(elapsed_s, self.tick_s)
        else:
            self._ran_s += min(elapsed_s, self.tick_s)
        if is_first_pause:  # our own pause: a reply in the socket must be read first
            return None
        # Checks are slightly late, never early; without this tolerance, limit_s would need one more
        # check.
        if self._stopped_s + self.tick_s / 2 > self._limit_s:
            return "stopped"
        return "hung" if self._ran_s + self.tick_s / 2 > self._limit_s else None


class Deadline:
    """Calls a function when a limit of running time has passed; in the running event loop.

    Args:
        limit_s: see RunningTime.
        on_due: called once, with the result of RunningTime.
        is_stopped: called at every check.
    """

    def __init__(
        self,
        limit_s: float,
        on_due: Callable[[Lateness], None],
        *,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._time = RunningTime(limit_s)
        self._on_due = on_due
        self._is_stopped = is_stopped
        self._loop = asyncio.get_running_loop()
        self._looked_s = self._loop.time()
        self._next = self._loop.call_later(self._time.tick_s, self._look)

    def cancel(self) -> None:
        """Stop counting."""
        self._next.cancel()

    def _look(self) -> None:
        now_s = self._loop.time()
        elapsed_s, self._looked_s = now_s - self._looked_s, now_s
        lateness = self._time.looked(elapsed_s, is_stopped=self._is_stopped())
        if lateness is None:
            self._next = self._loop.call_later(self._time.tick_s, self._look)
        else:
            self._on_due(lateness)


@asynccontextmanager
async def running_timeout(limit_s: float) -> AsyncIterator[None]:
    """Like ``asyncio.timeout``, with running time.

    Raises:
        TimeoutError: the body took longer.
    """
    async with asyncio.timeout(None) as scope:
        loop = asyncio.get_running_loop()
        deadline = Deadline(limit_s, lambda _: scope.reschedule(loop.time()))
        try:
            yield
        finally:
            deadline.cancel()
