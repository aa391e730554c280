"""An event loop in a separate thread, for engines that must always run in the same loop."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["LoopThread"]

T = TypeVar("T")


class LoopThread:
    """Runs coroutines of an engine: blocking while loading, awaited while serving.

    A model is loaded before the event loop of the worker runs, and an engine's own tasks stay in
    the loop that started them. So the engine gets a separate loop from its first request on.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` and block until it is done; not from an event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` and wait for it; a caller that is cancelled cancels it."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` in the background until ``stop``."""
        asyncio.run_coroutine_threadsafe(work, self._loop)

    def cancel(self, task: asyncio.Task[None] | None) -> None:
        """Cancel a task of this loop and block until it has ended."""
        if task is not None:
            self.call(_cancel({task}))

    def stop(self) -> None:
        """Cancel the tasks that still run and end the thread; blocks until it has ended."""
        if self._loop.is_closed():
            return
        self.call(_cancel(asyncio.all_tasks(self._loop)))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    others = tasks - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
