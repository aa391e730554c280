"""Waiting for events with a deadline that the clock port measures, so that tests control time."""

import asyncio
from collections.abc import Sequence

from streamlabel.consumer.core.ports import Clock

__all__ = ["wait_all"]


async def wait_all(events: Sequence[asyncio.Event], timeout_s: float | None, clock: Clock) -> bool:
    """Wait until every event is set; return False if ``timeout_s`` passes first."""
    if all(event.is_set() for event in events):
        return True
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    everything = asyncio.gather(*waiting)
    if timeout_s is None:
        await everything
        return True
    timer = asyncio.ensure_future(clock.sleep(timeout_s))
    try:
        await asyncio.wait((everything, timer), return_when=asyncio.FIRST_COMPLETED)
        return everything.done()
    finally:
        timer.cancel()
        everything.cancel()
        await asyncio.gather(timer, everything, return_exceptions=True)
