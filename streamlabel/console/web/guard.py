"""Wraps the pages: refuses requests of other sites, and sends the headers that contain a page."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamlabel.console.access.origin import is_from_our_pages

__all__ = ["CONTENT_SECURITY_POLICY", "Guard"]

# Scripts, styles, images and requests are ours alone; nothing inline, no frames, no plug-ins.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # with no-referrer browsers would send "Origin: null" with our own forms
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), autoplay=()",
}
_YEAR_S: Final = 365 * 24 * 3600


class Guard:
    """An ASGI application around another one.

    Args:
        app: the pages.
        origins: of the console; empty: that of the Host header.
        secure: whether it is reached by HTTPS, which browsers then insist on.
    """

    def __init__(self, app: ASGIApp, *, origins: frozenset[str], secure: bool) -> None:
        self._app = app
        self._origins = origins
        self._headers = dict(_HEADERS)
        if secure:
            self._headers["strict-transport-security"] = f"max-age={_YEAR_S}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        sending = self._with_headers(send)
        if is_from_our_pages(scope["method"], headers, origins=self._origins):
            await self._app(scope, receive, sending)
            return
        refusal = PlainTextResponse("This request did not come from the console's own page.\n", 403)
        await refusal(scope, receive, sending)

    def _with_headers(self, send: Send) -> Callable[[Message], Awaitable[None]]:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        return sending
