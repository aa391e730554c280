"""The port for time: decision logic gets the clock as an argument, so tests control time."""

from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """Time as an argument."""

    def now_s(self) -> float:
        """Monotonic seconds."""
        ...

    def epoch_ms(self) -> int:
        """Milliseconds since 1970, for the wire."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...
