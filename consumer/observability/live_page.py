"""A page at ``/`` of the health port: what the service does now, sent as server-sent events.

Read-only, without the text of a record and without anything from another host. The page, its
script and its style are files in ``page/``.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from functools import cache
from importlib.resources import files
from typing import Final, Never

import orjson
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from streamlabel.config.settings import Settings
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.core.waiting import wait_all
from streamlabel.consumer.observability.health import Health
from streamlabel.consumer.observability.live_state import LiveState
from streamlabel.consumer.plans.deployment import Deployment

__all__ = ["LivePage", "open_page"]

_INTERVAL_S: Final = 1.0
# Each open page costs a message a second; more than a team needs at once is an error or an attack.
_MOST_OPEN: Final = 16
_FILES: Final = {
    "/": ("index.html", "text/html"),
    "/live.css": ("live.css", "text/css"),
    "/live.js": ("live.js", "text/javascript"),
}
_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class LivePage:
    """The routes of the page, and the state behind them.

    Args:
        state: what is shown.
        clock: for samples and events.
        is_on: False: there are no routes, and nothing is sampled.
    """

    def __init__(self, state: LiveState, clock: Clock, *, is_on: bool = True) -> None:
        self._state = state
        self._is_on = is_on
        self._clock = clock
        self._is_closed = asyncio.Event()
        self._open = 0

    async def run(self, deployments: Callable[[], Iterable[Deployment]]) -> Never:
        """Sample the state once a second, until cancelled.

        Args:
            deployments: returns those that are in use.
        """
        self._state.show_deployments(deployments)
        while True:
            if self._is_on:
                self._state.sample(self._clock.now_s())
            await self._clock.sleep(_INTERVAL_S)

    def close(self) -> None:
        """End all events, so that open pages do not delay a stop."""
        self._is_closed.set()

    def routes(self) -> list[Route]:
        """Return the routes; all of them are GET."""
        if not self._is_on:
            return []
        return [
            *(Route(path, self._file, methods=["GET"]) for path in _FILES),
            Route("/events", self._events, methods=["GET"]),
        ]

    async def _file(self, request: Request) -> Response:
        path = request.url.path
        content = await asyncio.to_thread(_page, path)
        return Response(content, media_type=_FILES[path][1], headers=_HEADERS)

    async def _events(self, _: Request) -> Response:
        if self._open >= _MOST_OPEN:
            return PlainTextResponse("too many open pages\n", 503, headers=_HEADERS)
        return StreamingResponse(self._messages(), media_type="text/event-stream", headers=_HEADERS)

    async def _messages(self) -> AsyncIterator[bytes]:
        self._open += 1
        try:
            while True:
                document = self._state.document(self._clock.now_s())
                yield b"data: " + orjson.dumps(document) + b"\n\n"
                if await wait_all([self._is_closed], _INTERVAL_S, self._clock):
                    return
        finally:
            self._open -= 1


@cache
def _page(path: str) -> bytes:
    name, _ = _FILES[path]
    return (files(__package__) / "page" / name).read_bytes()


def open_page(
    registry: CollectorRegistry, health: Health, settings: Settings, clock: Clock
) -> LivePage:
    """Return the page of a service, as the settings have it."""
    is_on = settings.http.enabled and settings.http.page
    return LivePage(LiveState(registry, health, settings), clock, is_on=is_on)
