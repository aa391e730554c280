"""Runs requests concurrently, all or nothing: a batch has all its answers or one error."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

__all__ = ["together"]

T = TypeVar("T")


async def together(requests: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Return all answers in order; the first error cancels the other requests and is raised.

    Returns only when every request has ended, so every cancellation is complete.
    """
    tasks = [asyncio.ensure_future(request) for request in requests]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
