"""Health and metrics on one HTTP port, inside the running event loop.

/startupz, /readyz and /livez answer 200 or 503 (with ``?verbose``: JSON); /metrics is Prometheus; /
is the live page.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

import structlog
import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from streamlabel.config.settings import HttpSettings
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.observability.health import Health, ProbeResult
from streamlabel.consumer.observability.live_page import LivePage
from streamlabel.errors import ConfigError

__all__ = ["HealthServer", "health_app"]

log = structlog.get_logger(__name__)

# Answers take milliseconds; at shutdown a client that reads more slowly is disconnected.
_STOP_TIMEOUT_S: Final = 2
_BACKLOG: Final = 64
_NO_STORE: Final = {"cache-control": "no-store"}

_Answer = Callable[[Request], Awaitable[Response]]


class HealthServer:
    """Serves ``health_app`` from ``start`` to ``stop``; also an async context manager.

    uvicorn implements HTTP; its signal handlers, logging setup and periodic task are not used.
    """

    def __init__(
        self,
        health: Health,
        registry: CollectorRegistry,
        clock: Clock,
        *,
        settings: HttpSettings,
        page: LivePage | None = None,
    ) -> None:
        self._settings = settings
        self._page = page
        self._server = uvicorn.Server(
            uvicorn.Config(
                health_app(health, registry, clock, page),
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                date_header=False,  # would need the periodic task
                server_header=False,
                timeout_graceful_shutdown=_STOP_TIMEOUT_S,
            )
        )
        self._socket: socket.socket | None = None

    @property
    def port(self) -> int:
        """The port it listens on; the one chosen if ``http.port`` is 0."""
        if self._socket is None:
            raise AssertionError("the health server has not been started. This is a bug.")
        port: int = self._socket.getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: the port is in use or not allowed, or the host is not an address of this
            machine.
        """
        self._socket = await _listen(self._settings.host, self._settings.port)
        config = self._server.config
        config.load()
        self._server.lifespan = config.lifespan_class(config)
        await self._server.startup(sockets=[self._socket])
        log.info("http_listening", host=self._settings.host, port=self.port)

    async def stop(self) -> None:
        """Stop listening, and wait for running answers. Takes up to 2 s; safe to call twice."""
        if self._socket is None:
            return
        if self._page is not None:
            self._page.close()
        listening, self._socket = self._socket, None
        await self._server.shutdown(sockets=[listening])

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()


def health_app(
    health: Health, registry: CollectorRegistry, clock: Clock, page: LivePage | None = None
) -> Starlette:
    """Return the ASGI application: three probes, the metrics, and the page unless it is off."""

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        page = await asyncio.to_thread(encode, registry)  # reads /proc
        return Response(page, headers={"content-type": content_type})

    return Starlette(
        routes=[
            Route("/startupz", _probe(health.startup)),
            Route("/readyz", _probe(health.ready)),
            Route("/livez", _probe(lambda: health.live(clock.now_s()))),
            Route("/metrics", metrics),
            *([] if page is None else page.routes()),
        ]
    )


def _probe(judge: Callable[[], ProbeResult]) -> _Answer:
    async def answer(request: Request) -> Response:
        verdict = judge()
        status = 200 if verdict.ok else 503
        if "verbose" in request.query_params:
            checks = {c.name: {"ok": c.ok, "detail": c.detail} for c in verdict.checks}
            body = {"ok": verdict.ok, "checks": checks}
            return JSONResponse(body, status, headers=_NO_STORE)
        lines = [f"{check.name}: {check.detail}" for check in verdict.failed] or ["ok"]
        return PlainTextResponse("\n".join(lines) + "\n", status, headers=_NO_STORE)

    return answer


async def _listen(host: str, port: int) -> socket.socket:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ConfigError(f"http.host: {host!r} has no address ({error.strerror})") from error
    family, _, _, _, address = found[0]
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setblocking(False)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"http.port: cannot listen on {host}:{port} ({error.strerror}); set another port,"
            " 0 for a free one, or http.enabled: false"
        ) from error
    return listening
