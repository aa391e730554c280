"""Classifies a fixed text on a timer, to find engines that hang or return other results."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from streamlabel.errors import ModelError
from streamlabel.models.worker.running_time import running_timeout

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
    """Classify the text periodically until a check fails; return the reason as a clause.

    Args:
        ask: classifies the fixed text and returns its probabilities.
        expected: the probabilities in the start-up test.
        interval_s: between two checks.
        timeout_s: of one check.
        tolerance: maximum change of a probability, in [0, 1].
        on_beat: called after every successful check.
    """
    while True:
        await asyncio.sleep(interval_s)
        try:
            async with running_timeout(timeout_s):
                seen = await ask()
        except TimeoutError:
            return f"did not answer a fixed text within {timeout_s:g} s"
        except ModelError as error:
            return f"failed on a fixed text: {error}"
        moved = max((abs(a - b) for a, b in zip(seen, expected, strict=True)), default=float("inf"))
        if not moved <= tolerance:  # also true for NaN
            return f"classifies a fixed text differently: a probability changed by {moved:.3g}"
        logger.debug("canary_answered", moved=moved)
        on_beat()
