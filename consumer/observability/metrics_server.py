"""Metrics of a process that is not the service: its gauges, and serving them over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, Gauge, start_http_server

from streamlabel.consumer.core.metric_names import METRICS, GaugeName
from streamlabel.errors import ConfigError

__all__ = ["gauges", "served"]


def gauges(names: Iterable[GaugeName], registry: CollectorRegistry) -> dict[GaugeName, Gauge]:
    """Return new gauges by name, as ``METRICS`` describes them, on a registry."""
    return {
        name: Gauge(
            f"streamlabel_{name}", METRICS[name].help, METRICS[name].labels, registry=registry
        )
        for name in names
    }


@asynccontextmanager
async def served(
    registry: CollectorRegistry, *, host: str, port: int | None, advice: str
) -> AsyncIterator[int | None]:
    """Serve metrics while the body runs, and yield the port.

    Args:
        registry: what is served.
        host: IP address to listen on.
        port: 0: a free one; None: nothing is served.
        advice: what to change if the port cannot be used, beginning with the setting.

    Raises:
        ConfigError: the port cannot be used.
    """
    if port is None:
        yield None
        return
    try:
        server, thread = start_http_server(port, host, registry=registry)
    except OSError as error:
        setting, _, remedy = advice.partition(": ")
        raise ConfigError(
            f"{setting}: cannot listen on {host}:{port} ({error.strerror}); {remedy}"
        ) from error
    try:
        yield server.server_port
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        await asyncio.to_thread(thread.join)
