"""Shares one request between concurrent callers; the answer is never older than their call."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

__all__ = ["JointQuestion"]

T = TypeVar("T")


class JointQuestion(Generic[T]):
    """Makes one request for all callers that wait.

    At the start hundreds of partitions need the same answer at once. An answer that is a second old
    must not be used: a topic may have been deleted and recreated within that second.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._asking = asyncio.Lock()
        self._answer: tuple[int, T] | None = None
        self._number = 0  # of the last request

    async def answer(self) -> T:
        """Return the answer to a request that begins after this call."""
        before = self._number
        async with self._asking:
            if self._answer is None or self._answer[0] <= before:
                self._number += 1
                number = self._number
                self._answer = (number, await self._ask())
            return self._answer[1]
