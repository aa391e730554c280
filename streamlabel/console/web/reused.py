"""A number that many pages show is asked for once, and used again as long as it was expensive."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

__all__ = ["Reused"]

T = TypeVar("T")

# Of the time at most a twentieth is spent on asking: what takes 1 ms is 20 ms old at most, and what
# takes 100 ms, with hundreds of thousands of items, two seconds.
_AGE_OVER_COST: Final = 20.0


class Reused(Generic[T]):
    """What a call returns, asked by one at a time, and kept for a multiple of what it took.

    Args:
        ask: the call. What it raises is raised to everybody who waits for it, and not kept.
        monotonic_s: returns seconds that never go back.
    """

    def __init__(
        self, ask: Callable[[], Awaitable[T]], *, monotonic_s: Callable[[], float]
    ) -> None:
        self._ask = ask
        self._monotonic_s = monotonic_s
        self._lock = asyncio.Lock()
        self._known: tuple[T, float] | None = None

    async def value(self) -> T:
        """Return the value, at most ``20`` times as old as asking for it took."""
        async with self._lock:
            began_s = self._monotonic_s()
            if self._known is not None and began_s < self._known[1]:
                return self._known[0]
            found = await self._ask()
            ended_s = self._monotonic_s()
            self._known = found, ended_s + _AGE_OVER_COST * (ended_s - began_s)
            return found
