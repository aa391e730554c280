"""Signals: SIGTERM and SIGINT start a drain, a second one exits at once; SIGHUP reloads settings.

``signal.signal`` and not ``loop.add_signal_handler``: the second signal must work when the event
loop is stuck. Handlers run in the main thread between two bytecodes; the drain is only
*requested* there, and begins in the loop.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Final, NoReturn, Self

import structlog

from streamlabel.config.settings import Settings
from streamlabel.errors import ConfigError

__all__ = ["SIGNALS", "DrainOnSignal", "ReloadOnSignal"]

log = structlog.get_logger(__name__)

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class DrainOnSignal:
    """While entered, SIGTERM and SIGINT start a drain; on exit the earlier handlers are restored.

    Enter it in the main thread, inside the running event loop.

    Args:
        drain: called once, in the event loop, at the first signal.
        before_leaving: called at the second signal, in the signal handler, to kill processes that
            would outlive us. Must not wait. The exit is os._exit: no ``finally``, no ``atexit``.
    """

    def __init__(
        self, drain: Callable[[], None], *, before_leaving: Callable[[], None] | None = None
    ) -> None:
        self._drain = drain
        self._before_leaving = before_leaving
        self._previous: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._received: signal.Signals | None = None

    @property
    def received(self) -> signal.Signals | None:
        """The signal that started the drain; None if none did."""
        return self._received

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        for signum in SIGNALS:
            # None: the handler was not installed from Python and cannot be put back
            self._previous[signum] = signal.signal(signum, self._caught) or signal.SIG_DFL
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous.clear()

    def _caught(self, number: int, _frame: FrameType | None) -> None:
        signum = signal.Signals(number)
        if self._received is not None:
            self._leave(signum)
        self._received = signum
        if self._loop is None:
            raise AssertionError("a handler without a loop. This is a bug.")
        self._loop.call_soon_threadsafe(self._begin, signum)

    def _begin(self, signum: signal.Signals) -> None:
        log.info("drain_requested", signal=signum.name, again="leaves at once")
        self._drain()

    def _leave(self, signum: signal.Signals) -> NoReturn:
        try:
            # The interrupted code may be inside a write to the same stream.
            with suppress(RuntimeError):
                log.warning("leaving_at_once", signal=signum.name, committed="finished work only")
            if self._before_leaving is not None:
                self._before_leaving()
        finally:
            os._exit(128 + signum)


class ReloadOnSignal:
    """While entered, SIGHUP reads the settings again; on exit it is ignored again.

    Enter it in the main thread, inside the running event loop.

    Args:
        read: returns the settings; called in a thread.
        use: called with them, in the event loop.
        not_read: called instead if they are invalid, which is logged.
    """

    def __init__(
        self,
        read: Callable[[], Settings],
        use: Callable[[Settings], None],
        not_read: Callable[[], None],
    ) -> None:
        self._read = read
        self._use = use
        self._not_read = not_read
        self._reading: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._caught)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        for task in self._reading:
            task.cancel()

    def _caught(self) -> None:
        task = asyncio.ensure_future(self._reload())
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _reload(self) -> None:
        try:
            settings = await asyncio.to_thread(self._read)
        except ConfigError as error:
            log.error("reload_failed", why=str(error))
            self._not_read()
        else:
            self._use(settings)
