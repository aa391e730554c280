"""Finds Chromium, and serves pages to it."""

import asyncio
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from playwright.sync_api import Browser, sync_playwright
from starlette.applications import Starlette

__all__ = ["ChromiumMissingError", "launched", "served"]

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
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True
        )
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(_STOP_S)
