"""Wraps the pages: answers no more requests from one address than its limit allows."""

from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from streamlabel.console.web.site import Site

__all__ = ["Paced"]

# Probes, and files that browsers keep for ever: they cost nothing, and a page needs several.
_FREE: Final = ("/static/", "/readyz")


class Paced:
    """An ASGI application around another one.

    Args:
        app: the pages.
        site: has the limits, and the page that says how long to wait.
    """

    def __init__(self, app: ASGIApp, *, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"].startswith(_FREE):
            await self._app(scope, receive, send)
            return
        wait_s = self._wait_s(self._site.address(scope))
        if wait_s > 0:
            page = self._site.too_many(Request(scope), person=None, wait_s=wait_s)
            await page(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _wait_s(self, address: str | None) -> float:
        if address is None:  # a Unix socket, or a proxy that does not say for whom it asks
            return 0.0
        return self._site.rates.of_address(address, now_s=self._site.monotonic_s())
