"""Starts while the broker may not be reachable yet."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog

from streamlabel.consumer.core.ports import Clock
from streamlabel.errors import BrokerError

__all__ = ["finished_before", "unless_asked", "until_reachable"]

T = TypeVar("T")

_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 10.0

_log = structlog.get_logger(__name__)


async def until_reachable(
    start: Callable[[], Awaitable[None]], *, timeout_s: float | None, clock: Clock
) -> None:
    """Call ``start`` until it succeeds, and log each failure.

    Args:
        start: one attempt.
        timeout_s: give up after this; None: never.
        clock: measures it.

    Raises:
        BrokerError: not retriable, or the time is up.
    """
    began_s = clock.now_s()
    backoff_s = _FIRST_BACKOFF_S
    while True:
        try:
            await start()
        except BrokerError as error:
            waited_s = clock.now_s() - began_s
            if not error.retriable:
                raise
            if timeout_s is not None and waited_s + backoff_s > timeout_s:
                raise BrokerError(
                    f"no broker within {timeout_s:g} s (--start-timeout): {error}"
                ) from error
            _log.warning(
                "broker_unreachable",
                error=str(error),
                waited_s=round(waited_s, 1),
                again_in_s=backoff_s,
            )
            await clock.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)
        else:
            return


async def unless_asked(asked: asyncio.Event, starting: Coroutine[Any, Any, T]) -> T | None:
    """Return what ``starting`` returns; if ``asked`` is set first, cancel it and return None."""
    start = asyncio.ensure_future(starting)
    stop = asyncio.ensure_future(asked.wait())
    try:
        await asyncio.wait((start, stop), return_when=asyncio.FIRST_COMPLETED)
        return start.result() if start.done() else None
    finally:
        start.cancel()
        stop.cancel()
        await asyncio.gather(start, stop, return_exceptions=True)


async def finished_before(asked: asyncio.Event, starting: Coroutine[Any, Any, None]) -> bool:
    """Return whether ``starting`` finished; if ``asked`` is set first, it is cancelled."""

    async def finished() -> bool:
        await starting
        return True

    return await unless_asked(asked, finished()) is not None
