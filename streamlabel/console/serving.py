"""Runs a console: the pages, the reader of reviews and the sender of verdicts, on one database."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from typing import Any, Final

import structlog
import uvicorn

from streamlabel.config.settings import Settings
from streamlabel.console.metrics import ConsoleMetrics
from streamlabel.console.store.opening import SqlStore
from streamlabel.console.topics.loops import Duty, now_of
from streamlabel.console.topics.reading import ReviewReader
from streamlabel.console.topics.sending import VerdictSender
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.observability.metrics_server import served
from streamlabel.errors import ConfigError, StoreUnavailableError

__all__ = ["purge", "serve", "upkeep"]

_log = structlog.get_logger(__name__)

_EXPIRE_S: Final = 1.0
_PURGE_S: Final = 3600.0
_STOP_TIMEOUT_S: Final = 5

# An application of the ASGI protocol.
App = Callable[[Any, Any, Any], Awaitable[None]]


async def serve(
    settings: Settings, store: SqlStore, app: App, *, holder: str, clock: Clock
) -> None:
    """Serve the pages until a signal ends the process; the loops end with it.

    Args:
        settings: the whole configuration.
        store: open.
        app: the pages.
        holder: this process; unique.
        clock: the time.

    Raises:
        ConfigError: the address is in use, or not one of this machine; or that of the metrics.
    """
    chosen = settings.console
    listening = _listening(chosen.host, chosen.port)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,  # the pages trust listed proxies only
        timeout_graceful_shutdown=_STOP_TIMEOUT_S,
    )
    server = _Server(config)
    loops: list[Duty] = [
        ReviewReader(settings, store, holder=holder, clock=clock),
        VerdictSender(settings, store, instance=store.instance, holder=holder, clock=clock),
    ]
    address = listening.getsockname()
    _log.info("console_listening", host=address[0], port=address[1])
    metrics = ConsoleMetrics()
    exported = served(
        metrics.registry,
        host=settings.http.host,
        port=chosen.metrics_port,
        advice="console.metrics_port: set another port",
    )
    with listening:
        async with exported as metrics_port:
            running: list[Awaitable[None]] = [each.run() for each in loops]
            running.append(upkeep(settings, store, clock=clock))
            if metrics_port is not None:
                _log.info("console_metrics_listening", port=metrics_port)
                running.append(metrics.follow(store, clock=clock))
            async with _running(*running):
                await server.serve(sockets=[listening])
    for each in loops:
        with suppress(StoreUnavailableError):  # others take over a little later
            await each.give_up()


class _Server(uvicorn.Server):
    """Ends at a signal. uvicorn raises it again, which would end the process before the rest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, reuse_port=False)
    except OSError as error:
        raise ConfigError(
            f"console.host, console.port: cannot listen on {host}:{port} ({error.strerror})"
        ) from error


@asynccontextmanager
async def _running(*loops: Awaitable[None]) -> AsyncIterator[None]:
    """Run loops without end beside the body; an unexpected error of one ends the body."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_endless(each)) for each in loops]
        yield
        for task in tasks:
            task.cancel()


async def _endless(loop: Awaitable[None]) -> None:
    await loop


async def upkeep(settings: Settings, store: SqlStore, *, clock: Clock) -> None:
    """Give expired leases back every second, and erase old texts every hour; without end."""
    purged_s = float("-inf")
    problem = ""
    while True:
        try:
            await store.expire(now=now_of(clock))
            if clock.now_s() - purged_s >= _PURGE_S:
                await purge(settings, store, now=now_of(clock))
                purged_s = clock.now_s()
            problem = ""
        except StoreUnavailableError as error:
            if str(error) != problem:
                problem = str(error)
                _log.warning("console_upkeep_interrupted", why=problem)
        await clock.sleep(_EXPIRE_S)


async def purge(settings: Settings, store: SqlStore, *, now: datetime) -> int:
    """Erase what the settings keep no longer; return how many texts.

    Raises:
        StoreUnavailableError: the database cannot be written.
    """
    kept = settings.console.retention
    done = await store.purge(decided_days=kept.decided_days, open_days=kept.open_days, now=now)
    if done.items:
        _log.info("texts_erased", items=done.items, undecided=done.undecided)
    return done.items
