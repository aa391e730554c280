"""A real browser, and the pages behind a real port."""

import asyncio
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, sync_playwright
from starlette.applications import Starlette

from tests.requirements import missing

_START_S = 30.0


def chromium() -> Path:
    """Return the installed Chromium; skip, or fail in CI, without one."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is not None:
        return Path(found)
    return missing(
        "no Chromium: apt-get install chromium (make test does so where it runs as root)"
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests; each test opens its own context."""
    path = chromium()
    with sync_playwright() as playwright:
        # no-sandbox: CI runs as root in containers, where Chromium's own sandbox cannot start
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


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
            thread.join(_START_S)
