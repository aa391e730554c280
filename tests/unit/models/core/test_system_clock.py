"""The system's clock is the Clock of the worker's restarts and of the service alike."""

import time

from streamlabel.models.core.clock import Clock
from streamlabel.models.core.system_clock import SystemClock


async def _waited_s(clock: Clock, seconds: float) -> float:
    began_s = clock.now_s()
    await clock.sleep(seconds)
    return clock.now_s() - began_s


async def test_the_system_clock_tells_monotonic_and_wall_time() -> None:
    earlier_ms = time.time_ns() // 1_000_000
    assert await _waited_s(SystemClock(), 0.002) >= 0.001
    assert SystemClock().epoch_ms() >= earlier_ms
