"""Whether the service has started, is ready and makes progress: a pure state.

``health_server`` shows it over HTTP. Time is an argument, in monotonic seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streamlabel.config.settings import HttpSettings

__all__ = ["Health", "HealthCheck", "ProbeResult"]

# /livez fails above this. A loop that is repeatedly delayed by half a minute is about to lose its
# partitions (kafka.session_timeout_ms is 45 s); a single delay is forgotten after 15 s.
MAX_LOOP_LAG_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One condition; ``detail`` describes its state for operators."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The answer of a probe."""

    checks: tuple[HealthCheck, ...]

    @property
    def ok(self) -> bool:
        """True if every check holds."""
        return all(check.ok for check in self.checks)

    @property
    def failed(self) -> tuple[HealthCheck, ...]:
        """The checks that do not hold."""
        return tuple(check for check in self.checks if not check.ok)


class Health:
    """Collects the state of the service's parts, and answers the three probes.

    Args:
        live_after_s: not live if work waits and nothing was delivered for this long.
        broker_grace_s: not ready if brokers did not answer for this long.
    """

    def __init__(self, *, live_after_s: float, broker_grace_s: float) -> None:
        self._live_after_s = live_after_s
        self._broker_grace_s = broker_grace_s
        self._brokers_down: tuple[str, ...] = ()
        self._brokers_down_s = 0.0
        self._model_loaded = False
        self._worker_up = False
        self._partitions: int | None = None
        self._draining = False
        self._guard: str | None = None
        self._stalled_since_s: float | None = None
        self._loop_lag_s = 0.0

    @classmethod
    def of(cls, http: HttpSettings) -> "Health":
        """Return the state of a service that begins to start."""
        return cls(live_after_s=http.live_after_s, broker_grace_s=http.broker_grace_s)

    def model_loaded(self) -> None:
        """Note that the model is loaded and the worker answers; true until the process ends."""
        self._model_loaded = True
        self._worker_up = True

    def worker_changed(self, *, up: bool) -> None:
        """Note whether the worker process answers."""
        self._worker_up = up

    def brokers(self, down: Sequence[str], down_s: float) -> None:
        """Note which roles have no broker (consumer, coordinator, producer), and for how long."""
        self._brokers_down = tuple(down)
        self._brokers_down_s = down_s

    def assigned(self, partitions: int) -> None:
        """Note the number of assigned partitions; with 0 the member is idle, and ready."""
        self._partitions = partitions

    def left(self) -> None:
        """Note that partitions were revoked, or the group was left: no assignment is known."""
        self._partitions = None

    def drain_started(self) -> None:
        """Note that no more records are read; this is final."""
        self._draining = True

    def guard_tripped(self, why: str) -> None:
        """Note that the dead-letter guard stops the service; this is final."""
        self._guard = why

    def work(self, *, waiting: bool, now_s: float) -> None:
        """Note whether records wait for delivery: in flight, or as lag in the topic."""
        if not waiting:
            self._stalled_since_s = None
        elif self._stalled_since_s is None:
            self._stalled_since_s = now_s

    def progressed(self, now_s: float) -> None:
        """Note that something was delivered; ``work`` reports whether more waits."""
        if self._stalled_since_s is not None:
            self._stalled_since_s = max(self._stalled_since_s, now_s)

    def loop_lagged(self, lag_s: float) -> None:
        """Note the largest delay of the event loop in the last seconds."""
        self._loop_lag_s = lag_s

    def stalled_s(self, now_s: float) -> float:
        """Seconds since the last delivery while work waits; 0 when none waits."""
        if self._stalled_since_s is None:
            return 0.0
        return max(0.0, now_s - self._stalled_since_s)

    def startup(self) -> ProbeResult:
        """Answer /startupz: the model is loaded. Once true, it remains true."""
        return ProbeResult((self._model(),))

    def ready(self) -> ProbeResult:
        """Answer /readyz: records are being classified, or would be if there were any."""
        joined = self._partitions is not None
        return ProbeResult(
            (
                self._model(),
                HealthCheck(
                    "worker", self._worker_up, "up" if self._worker_up else "does not answer"
                ),
                self._broker(),
                HealthCheck(
                    "group", joined, f"{self._partitions} partitions" if joined else "not joined"
                ),
                HealthCheck(
                    "drain", not self._draining, "draining" if self._draining else "not draining"
                ),
                HealthCheck("guard", self._guard is None, self._guard or "not tripped"),
            )
        )

    def live(self, now_s: float) -> ProbeResult:
        """Answer /livez: the service makes progress. Does not depend on other systems."""
        stalled_s = self.stalled_s(now_s)
        progress = "no work waits"
        if self._stalled_since_s is not None:
            progress = f"work waits, last delivery {stalled_s:.0f} s ago"
        return ProbeResult(
            (
                HealthCheck("progress", stalled_s < self._live_after_s, progress),
                HealthCheck(
                    "loop", self._loop_lag_s < MAX_LOOP_LAG_S, f"{self._loop_lag_s:.3f} s late"
                ),
            )
        )

    def _broker(self) -> HealthCheck:
        if not self._brokers_down:
            return HealthCheck("broker", ok=True, detail="connected")
        is_short = self._brokers_down_s < self._broker_grace_s
        roles = ", ".join(self._brokers_down)
        return HealthCheck(
            "broker", is_short, f"no answer for {roles} for {self._brokers_down_s:.0f} s"
        )

    def _model(self) -> HealthCheck:
        return HealthCheck(
            "model", self._model_loaded, "loaded" if self._model_loaded else "loading"
        )
