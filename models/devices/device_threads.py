"""Threads of a classifier: one tokenises, the others compute, and the event loop stays free."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from streamlabel.errors import ModelError
from streamlabel.models.devices.device import Device, limit_threads

__all__ = ["QUEUED", "DeviceThreads", "OwnThreads"]

T = TypeVar("T")

# Batches that wait in the queue while others are computed, so that the device does not wait for the
# event loop. This is the value of ``BatchHints.queued``; ``max_in_flight`` of one stream is one
# more.
QUEUED: Final = 1


class OwnThreads:
    """Runs blocking calls in the order of submission until it is closed.

    Args:
        name: prefix of the thread names.
        count: calls that run concurrently.
        set_up: called first in each thread.
    """

    def __init__(
        self, name: str, *, count: int = 1, set_up: Callable[[], None] | None = None
    ) -> None:
        self._pool = ThreadPoolExecutor(count, name, initializer=set_up)
        self._is_closed = False

    async def run(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns.

        Raises:
            ModelError: it is closed.
        """
        self.refuse_if_closed()
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def refuse_if_closed(self) -> None:
        """Raise ModelError if it is closed."""
        if self._is_closed:
            raise ModelError("the classifier is closed")

    async def close(self) -> None:
        """Accept no further calls, finish the waiting ones, and end; safe to call twice."""
        self._is_closed = True
        await asyncio.to_thread(self._pool.shutdown)


class DeviceThreads:
    """Runs blocking calls: the next texts are tokenised while the device works on these.

    Args:
        device: set as current device in each thread that computes.
        threads: CPU threads of torch's kernels, for each stream; None: all available cores.
        streams: batches computed concurrently.

    Attributes:
        max_in_flight: batches that keep one stream busy.
    """

    max_in_flight = 1 + QUEUED

    def __init__(self, device: Device, threads: int | None = None, *, streams: int = 1) -> None:
        def set_up() -> None:
            # torch's current device and OpenMP's thread count are set per thread
            device.use_here()
            limit_threads(threads)

        self._tokenizer = OwnThreads("tokenizer")
        self._device = OwnThreads("device", count=streams, set_up=set_up)

    async def tokenize(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, in turn with other texts' preparation.

        Raises:
            ModelError: the threads are closed.
        """
        return await self._tokenizer.run(work)

    async def compute(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, in turn with other batches.

        Raises:
            ModelError: the threads are closed.
        """
        return await self._device.run(work)

    def refuse_if_closed(self) -> None:
        """Raise ModelError if they are closed."""
        self._tokenizer.refuse_if_closed()

    async def close(self) -> None:
        """Accept no further calls, finish the waiting ones, and end; safe to call twice."""
        await asyncio.gather(self._tokenizer.close(), self._device.close())
