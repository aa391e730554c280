"""Wraps the pages: refuses requests of other sites, and sends the headers that contain a page.

Browsers say where a request comes from: ``Sec-Fetch-Site``, or ``Origin`` in older ones. What
changes something must come from our own pages (CSRF). The cookies are SameSite=Lax, too.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["CONTENT_SECURITY_POLICY", "Guard", "is_from_our_pages"]

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
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
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


def is_from_our_pages(method: str, headers: Mapping[str, str], *, origins: frozenset[str]) -> bool:
    """Return whether a request may change something.

    Args:
        method: of HTTP. Safe methods change nothing and may come from anywhere.
        headers: lower-case names.
        origins: ours, for example https://review.example.org. Empty: that of the Host header.
    """
    if method in _SAFE:
        return True
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    if origin is None:
        return False
    if origins:
        return origin in origins
    scheme, _, host = origin.partition("://")
    return scheme in {"http", "https"} and host == headers.get("host")
