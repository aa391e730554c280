"""A TCP proxy between client and broker that a test can cut, stall and resume."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, Literal, Self, TypeVar

__all__ = ["Proxy"]

T = TypeVar("T")

_CHUNK_BYTES = 64 * 1024
_CALL_TIMEOUT_S = 10.0


class Proxy:
    """Listens on a free port of localhost and forwards to ``target``; runs in a thread of its own.

    - ``cut``: every connection is reset, new ones are refused.
    - ``stall``: connections stay, nothing moves, new ones are accepted and hear nothing.
    - ``resume``: as if nothing had been; what was stalled goes on.

    Attributes:
        port: where it listens. A broker must advertise this one, or clients walk around it.
        target: the port behind it, to be set before the first connection.
    """

    def __init__(self) -> None:
        self.port = 0
        self.target = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._handlers: set[asyncio.Task[None]] = set()
        self._moving = asyncio.Event()
        self._state: Literal["open", "cut", "stalled"] = "open"

    @classmethod
    def start(cls) -> Self:
        """Listen."""
        proxy = cls()
        proxy._thread.start()
        proxy._call(proxy._listen(0))
        return proxy

    def cut(self) -> None:
        """Reset all connections and refuse new ones."""
        self._call(self._cut())

    def stall(self) -> None:
        """Forward nothing, in no direction."""
        self._call(self._stall())

    def resume(self) -> None:
        """Forward again."""
        self._call(self._resume())

    def close(self) -> None:
        """Cut, and end the thread."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_TIMEOUT_S)
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_CALL_TIMEOUT_S)

    async def _listen(self, port: int) -> None:
        self._moving.set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        self._state = "cut"
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        self._moving.set()  # stalled pipes notice that their connection is gone

    async def _stall(self) -> None:
        self._state = "stalled"
        self._moving.clear()

    async def _resume(self) -> None:
        if self._state == "cut":
            await self._listen(self.port)
        self._state = "open"
        self._moving.set()

    async def _end(self) -> None:
        await self._cut()
        for task in self._handlers:
            task.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("a handler runs in a task. This is a bug.")
        self._handlers.add(task)
        try:
            await self._serve(reader, writer)
        finally:
            self._handlers.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(writer.transport.abort)
            self._writers.add(writer)
            stack.callback(self._writers.discard, writer)
            await self._moving.wait()
            try:
                there, back = await asyncio.open_connection("localhost", self.target)
            except OSError:
                return
            stack.callback(back.transport.abort)
            self._writers.add(back)
            stack.callback(self._writers.discard, back)
            pipes = [
                asyncio.ensure_future(self._pipe(reader, back)),
                asyncio.ensure_future(self._pipe(there, writer)),
            ]
            try:
                await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pipe in pipes:
                    pipe.cancel()
                await asyncio.gather(*pipes, return_exceptions=True)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                await self._moving.wait()
                writer.write(chunk)
                await writer.drain()
