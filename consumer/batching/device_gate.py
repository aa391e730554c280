"""Access to the device: several shared calls at a time or one exclusive call, in arrival order."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["DeviceGate"]


class DeviceGate:
    """Admits calls in the order of their arrival.

    No call starves: an exclusive call waits for running and earlier calls, and later calls wait for
    it.
    """

    def __init__(self) -> None:
        self._running = 0
        self._is_alone = False
        self._waiting: deque[tuple[bool, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Run together with other shared calls."""
        await self._enter(alone=False)
        try:
            yield
        finally:
            self._running -= 1
            self._admit()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Run with nothing else on the device."""
        await self._enter(alone=True)
        try:
            yield
        finally:
            self._is_alone = False
            self._running -= 1
            self._admit()

    async def _enter(self, *, alone: bool) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((alone, turn))
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # admitted, and cancelled before it woke up
                self._is_alone = False if alone else self._is_alone
                self._running -= 1
            self._admit()
            raise

    def _admit(self) -> None:
        while self._waiting:
            alone, turn = self._waiting[0]
            if not turn.cancelled():
                if self._is_alone or (alone and self._running):
                    return
                self._is_alone = alone
                self._running += 1
                turn.set_result(None)
            self._waiting.popleft()
