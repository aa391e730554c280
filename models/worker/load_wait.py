"""Reports at intervals what is being waited for, because an engine takes minutes to load."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import structlog

from streamlabel.config.model import ModelSettings

__all__ = ["log_wait", "told", "what_loads"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

# Most models are loaded before the first report.
_FIRST_S: Final = 5.0
_PERIOD_S: Final = 15.0


def what_loads(model: ModelSettings) -> str:
    """Return what is loaded, for people: the back end, and the folder or name of the model."""
    name = getattr(model, "path", None) or getattr(model, "model", None) or ""
    what = "vLLM's engine" if model.backend == "vllm" else f"the {model.backend} model"
    return f"{what} {name}".strip()


def log_wait(model: ModelSettings) -> Callable[[float], None]:
    """Return a function that logs how long the model has been loading."""

    def tell(waited_s: float) -> None:
        log.info("model_loading", what=what_loads(model), waited_s=round(waited_s))

    return tell


async def told(
    work: Coroutine[Any, Any, T],
    tell: Callable[[float], None],
    *,
    first_s: float = _FIRST_S,
    period_s: float = _PERIOD_S,
) -> T:
    """Return what ``work`` returns; call ``tell`` with the seconds so far while it lasts.

    Args:
        work: cancelled with this coroutine.
        tell: called in the event loop.
        first_s: until the first call.
        period_s: between later calls.
    """
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    calls: list[asyncio.TimerHandle] = []

    def again() -> None:
        tell(loop.time() - began_s)
        calls[:] = [loop.call_later(period_s, again)]

    calls.append(loop.call_later(first_s, again))
    try:
        return await work
    finally:
        calls[0].cancel()
