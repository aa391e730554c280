"""A fixed text, asked on a timer: finds engines that hang, and engines whose numbers drift."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from streamlabel.errors import ModelError

__all__ = ["watch"]

logger = structlog.get_logger(__name__)


async def watch(
    ask: Callable[[], Awaitable[Sequence[float]]],
    expected: Sequence[float],
    *,
    interval_s: float,
    timeout_s: float,
    tolerance: float,
    on_beat: Callable[[], None] = lambda: None,
) -> str:
    """Ask until something is wrong; return what, as a clause.

    Args:
        ask: returns the fixed text's probabilities.
        expected: those of the start-up test.
        interval_s: between two questions.
        timeout_s: for one answer.
        tolerance: how far a probability may move, in [0, 1].
        on_beat: called after every good answer.
    """
    while True:
        await asyncio.sleep(interval_s)
        try:
            async with asyncio.timeout(timeout_s):
                seen = await ask()
        except TimeoutError:
            return f"did not answer a fixed text within {timeout_s:g} s"
        except ModelError as error:
            return f"failed on a fixed text: {error}"
        moved = max((abs(a - b) for a, b in zip(seen, expected, strict=True)), default=float("inf"))
        if not moved <= tolerance:  # NaN is wrong too
            return f"answers a fixed text differently: a probability moved by {moved:.3g}"
        logger.debug("canary_answered", moved=moved)
        on_beat()
