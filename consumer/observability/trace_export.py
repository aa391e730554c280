"""Sends the spans of ``traces`` to a collector, and the last ones before the service ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from streamlabel import __version__
from streamlabel.config.settings import Settings
from streamlabel.consumer.observability.traces import Traces
from streamlabel.extras import require

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

__all__ = ["open_traces"]

# How long the last spans may take to be sent when the service ends.
_FLUSH_MS: Final = 3000


@asynccontextmanager
async def open_traces(
    settings: Settings,
    limit_bytes: Callable[[str], int],
    *,
    exporter: "SpanExporter | None" = None,
) -> AsyncIterator[Traces | None]:
    """Yield what makes the spans, or None if tracing is off; at the end send the last ones.

    Args:
        settings: of the service.
        limit_bytes: as of ``Traces``.
        exporter: where spans go; None: to the endpoint of the settings.

    Raises:
        ConfigError: the extra is not installed.
    """
    if not settings.tracing.enabled:
        yield None
        return
    require("tracing.enabled", extra="tracing", otherwise="set it to false")
    processor, resource = await asyncio.to_thread(_opened, settings, exporter)
    try:
        yield Traces(
            processor.on_end,
            resource=resource,
            version=__version__,
            group=settings.kafka.group_id,
            sample=settings.tracing.sample,
            limit_bytes=limit_bytes,
        )
    finally:
        await asyncio.to_thread(processor.force_flush, _FLUSH_MS)
        await asyncio.to_thread(processor.shutdown)


def _opened(
    settings: Settings, exporter: "SpanExporter | None"
) -> tuple["BatchSpanProcessor", "Resource"]:
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 with the extra
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    if exporter is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )

        exporter = OTLPSpanExporter(endpoint=settings.tracing.endpoint)
    about = {"service.name": settings.kafka.client_id, "service.version": __version__}
    return BatchSpanProcessor(exporter), Resource.create(about)
