"""Finds Chromium, and serves pages to it."""

import asyncio
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import uvicorn
from playwright.sync_api import Browser, sync_playwright
from starlette.applications import Starlette

__all__ = ["ChromiumMissingError", "launched", "served", "served_while"]

_STOP_S = 30.0


class ChromiumMissingError(Exception):
    """There is no Chromium; the message says how to get it."""


@contextmanager
def launched() -> Iterator[Browser]:
    """Start the installed Chromium.

    Raises:
        ChromiumMissingError: there is none.
    """
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        raise ChromiumMissingError(
            "no Chromium: apt-get install chromium (make test does so where it runs as root)"
        )
    with sync_playwright() as playwright:
        # no-sandbox: CI runs as root in containers, where Chromium's own sandbox cannot start
        browser = playwright.chromium.launch(executable_path=Path(found), args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    """Serve an application in a thread, at the address that is returned."""

    @asynccontextmanager
    async def ready() -> AsyncIterator[Starlette]:
        yield app

    with served_while(ready) as address:
        yield address


@contextmanager
def served_while(opening: Callable[[], AbstractAsyncContextManager[Starlette]]) -> Iterator[str]:
    """Open an application in the event loop of a thread, and serve it there."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        servers: list[uvicorn.Server] = []

        async def run() -> None:
            async with opening() as app:
                config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
                servers.append(uvicorn.Server(config))
                await servers[0].serve(sockets=[listener])

        thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
        thread.start()
        # requests that come before the server is ready wait in the backlog of the socket
        listener.listen()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for server in servers:
                server.should_exit = True
            thread.join(_STOP_S)
