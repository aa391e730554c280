"""Gets a batch through the model whatever the model does, down to the one bad record.

- It raises: once more, then in halves until the bad record is alone.
- The device is out of memory: in halves at once, and the token budget is lowered.
- The worker dies or hangs: the batch is tried again with nothing else on the device, then in
  about sqrt(n) parts, so that the text that kills it is found with few restarts. Running alone
  matters: otherwise an innocent text that happened to share the device would be blamed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from math import ceil, isqrt
from typing import TypeVar

import structlog

from streamlabel.consumer.ports import Metrics
from streamlabel.errors import (
    DeviceMemoryError,
    InferenceError,
    RecordError,
    WorkerError,
    WorkerGaveUpError,
)

__all__ = ["Inference"]

T = TypeVar("T")
R = TypeVar("R")
Call = Callable[[Sequence[T]], Awaitable[list[R | InferenceError]]]

# A part this small is tried text by text: each crash costs a restart, a call costs little.
_ONE_BY_ONE = 32

_log = structlog.get_logger(__name__)


class Inference:
    """Runs calls of a Classifier and recovers from their failures.

    Args:
        on_memory_error: told how many texts the batch had that did not fit.
        metrics: counts retries by cause.
    """

    def __init__(self, *, on_memory_error: Callable[[], None], metrics: Metrics) -> None:
        self._on_memory_error = on_memory_error
        self._metrics = metrics
        self._gate = _Gate()

    async def run(self, call: Call[T, R], items: Sequence[T]) -> list[R | RecordError]:
        """Return one result or RecordError per item, in order.

        Raises:
            WorkerGaveUpError: the worker cannot be kept alive; nothing was decided.
        """
        return await self._attempt(call, items, tries=2)

    async def _attempt(
        self, call: Call[T, R], items: Sequence[T], *, tries: int
    ) -> list[R | RecordError]:
        try:
            async with self._gate.shared():
                return _as_record_errors(await call(items))
        except WorkerGaveUpError:
            raise
        except WorkerError as error:
            self._retrying("worker", error, items)
            async with self._gate.alone():
                return await self._after_crash(call, items)
        except DeviceMemoryError as error:
            self._retrying("memory", error, items)
            self._on_memory_error()
            if len(items) > 1:
                return await self._halves(call, items)
            async with self._gate.alone():  # what ran beside it may have taken the memory
                return await self._last_try(call, items)
        except InferenceError as error:
            return await self._after_error(call, items, error, tries=tries)

    async def _after_error(
        self, call: Call[T, R], items: Sequence[T], error: InferenceError, *, tries: int
    ) -> list[R | RecordError]:
        if tries > 1:
            self._retrying("error", error, items)
            return await self._attempt(call, items, tries=tries - 1)
        if len(items) == 1:
            return [_record_error(error)]
        self._retrying("split", error, items)
        return await self._halves(call, items)

    async def _halves(self, call: Call[T, R], items: Sequence[T]) -> list[R | RecordError]:
        middle = len(items) // 2
        return [
            *await self._attempt(call, items[:middle], tries=1),
            *await self._attempt(call, items[middle:], tries=1),
        ]

    async def _last_try(self, call: Call[T, R], items: Sequence[T]) -> list[R | RecordError]:
        try:
            return _as_record_errors(await call(items))
        except (DeviceMemoryError, InferenceError) as error:
            return [_record_error(error)]

    async def _after_crash(self, call: Call[T, R], items: Sequence[T]) -> list[R | RecordError]:
        """Run with nothing else on the device; the caller holds the gate."""
        try:
            return _as_record_errors(await call(items))
        except WorkerGaveUpError:
            raise
        except WorkerError as error:
            if len(items) == 1:
                return [
                    RecordError("crash_suspect", f"the worker died whenever it had this: {error}")
                ]
            self._retrying("worker", error, items)
            size = isqrt(len(items)) if len(items) > _ONE_BY_ONE else 1
        except (DeviceMemoryError, InferenceError) as error:
            if len(items) == 1:
                return [_record_error(error)]
            self._retrying("split", error, items)
            size = ceil(len(items) / 2)
        results: list[R | RecordError] = []
        for start in range(0, len(items), size):
            part: list[R | RecordError] = await self._after_crash(call, items[start : start + size])
            results += part
        return results

    def _retrying(self, cause: str, error: Exception, items: Sequence[T]) -> None:
        self._metrics.increment("inference_retries", cause=cause)
        _log.warning("inference_retry", cause=cause, items=len(items), error=type(error).__name__)


class _Gate:
    """Many ordinary calls at a time, or one alone."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._running = 0
        self._is_alone = False

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._is_alone)
            self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            await self._notify()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._is_alone)
            self._is_alone = True
            await self._changed.wait_for(lambda: self._running == 0)
        try:
            yield
        finally:
            self._is_alone = False
            await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _as_record_errors(results: Sequence[R | InferenceError]) -> list[R | RecordError]:
    return [_record_error(r) if isinstance(r, InferenceError) else r for r in results]


def _record_error(error: Exception) -> RecordError:
    return RecordError("inference_error", f"{type(error).__name__}: the model fails on this text")
