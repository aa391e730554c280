"""Two threads: one tokenises, one computes; the event loop does neither."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from streamlabel.errors import ModelError
from streamlabel.models.devices import limit_threads

__all__ = ["DeviceThreads"]

T = TypeVar("T")


class DeviceThreads:
    """Runs blocking calls: the next texts are tokenised while the device works on these.

    Args:
        threads: CPU threads of torch's kernels; None: every core we may use.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._tokenizer = ThreadPoolExecutor(1, "tokenizer")
        # OpenMP's thread count belongs to the thread that calls, so it is set in this one.
        self._device = ThreadPoolExecutor(
            1, "device", initializer=limit_threads, initargs=(threads,)
        )
        self._is_closed = False

    async def tokenize(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, in turn with other texts' preparation.

        Raises:
            ModelError: the threads are closed.
        """
        return await self._run(self._tokenizer, work)

    async def compute(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, in turn with other batches.

        Raises:
            ModelError: the threads are closed.
        """
        return await self._run(self._device, work)

    async def close(self) -> None:
        """Let both finish what they have; safe to call twice."""
        self._is_closed = True
        for thread in (self._tokenizer, self._device):
            await asyncio.to_thread(thread.shutdown, cancel_futures=True)

    async def _run(self, thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        if self._is_closed:
            raise ModelError("the classifier is closed")
        return await asyncio.get_running_loop().run_in_executor(thread, work)
