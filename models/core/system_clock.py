"""The system clock behind the Clock port."""

import asyncio
import time

__all__ = ["SystemClock"]


class SystemClock:
    """Implements ``models.core.clock.Clock``."""

    def now_s(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def epoch_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
