"""Whether the service has started, is ready and makes progress: a pure state.

``health_server`` shows it over HTTP. Time is an argument, in monotonic seconds.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["Check", "Health", "Verdict"]

# /livez fails above this. A loop that is late by half a minute, again and again, is about to lose
# its partitions (kafka.session_timeout_ms is 45 s); one stall is forgotten after 15 s.
MAX_LOOP_LAG_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold; ``detail`` says how it is, for people."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a probe answers."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """True if every check holds."""
        return all(check.ok for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that do not hold."""
        return tuple(check for check in self.checks if not check.ok)


class Health:
    """What the parts of the service report, and what follows for the three probes.

    Args:
        live_after_s: work waits and nothing was delivered for this long: not live.
    """

    def __init__(self, *, live_after_s: float) -> None:
        self._live_after_s = live_after_s
        self._model_loaded = False
        self._worker_up = False
        self._partitions: int | None = None
        self._draining = False
        self._guard: str | None = None
        self._stalled_since_s: float | None = None
        self._loop_lag_s = 0.0

    def model_loaded(self) -> None:
        """The model is loaded and the worker answers; stays true for the life of the process."""
        self._model_loaded = True
        self._worker_up = True

    def worker_changed(self, *, up: bool) -> None:
        """The worker process went away, or a new one answers."""
        self._worker_up = up

    def assigned(self, partitions: int) -> None:
        """The group gave us this many partitions; 0 is an idle member, and ready."""
        self._partitions = partitions

    def left(self) -> None:
        """Partitions were taken, or the group was left: no assignment is known."""
        self._partitions = None

    def drain_started(self) -> None:
        """No more records are taken; there is no way back."""
        self._draining = True

    def guard_tripped(self, why: str) -> None:
        """The dead-letter guard stops the service; there is no way back."""
        self._guard = why

    def work(self, *, waiting: bool, now_s: float) -> None:
        """Say whether records wait for delivery: in flight, or behind in the topic."""
        if not waiting:
            self._stalled_since_s = None
        elif self._stalled_since_s is None:
            self._stalled_since_s = now_s

    def progressed(self, now_s: float) -> None:
        """Something was delivered; whether more waits is told by ``work``."""
        if self._stalled_since_s is not None:
            self._stalled_since_s = max(self._stalled_since_s, now_s)

    def loop_lagged(self, lag_s: float) -> None:
        """The event loop woke up this late, at worst, in the last seconds."""
        self._loop_lag_s = lag_s

    def stalled_s(self, now_s: float) -> float:
        """Seconds since the last delivery while work waits; 0 when none waits."""
        if self._stalled_since_s is None:
            return 0.0
        return max(0.0, now_s - self._stalled_since_s)

    def startup(self) -> Verdict:
        """Answer /startupz: the model is loaded. Never goes back."""
        return Verdict((self._model(),))

    def ready(self) -> Verdict:
        """Answer /readyz: records are being classified, or would be if there were any."""
        joined = self._partitions is not None
        return Verdict(
            (
                self._model(),
                Check("worker", self._worker_up, "up" if self._worker_up else "down, restarting"),
                Check(
                    "group", joined, f"{self._partitions} partitions" if joined else "not joined"
                ),
                Check(
                    "drain", not self._draining, "draining" if self._draining else "not draining"
                ),
                Check("guard", self._guard is None, self._guard or "not tripped"),
            )
        )

    def live(self, now_s: float) -> Verdict:
        """Answer /livez: progress, not a running process. No dependency is asked."""
        stalled_s = self.stalled_s(now_s)
        progress = "no work waits"
        if self._stalled_since_s is not None:
            progress = f"work waits, last delivery {stalled_s:.0f} s ago"
        return Verdict(
            (
                Check("progress", stalled_s < self._live_after_s, progress),
                Check("loop", self._loop_lag_s < MAX_LOOP_LAG_S, f"{self._loop_lag_s:.3f} s late"),
            )
        )

    def _model(self) -> Check:
        return Check("model", self._model_loaded, "loaded" if self._model_loaded else "loading")
