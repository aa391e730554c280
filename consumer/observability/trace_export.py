"""Sends the spans of ``traces`` to a collector, and the last ones before the service ends."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from streamlabel import __version__
from streamlabel.config.settings import Settings
from streamlabel.consumer.observability.span_encoding import SpanEncoder
from streamlabel.consumer.observability.traces import Traces
from streamlabel.extras import require

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
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
        exporter = _exporter(settings.tracing.endpoint)
    about = {"service.name": settings.kafka.client_id, "service.version": __version__}
    return BatchSpanProcessor(exporter), Resource.create(about)


def _exporter(endpoint: str | None) -> "SpanExporter":
    """Return the exporter of OpenTelemetry with our encoder: its own takes five times as long."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 with the extra
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415

    encoder = SpanEncoder()

    class Exporter(OTLPSpanExporter):
        def export(self, spans: "Sequence[ReadableSpan]") -> SpanExportResult:
            client = getattr(self, "_client", None)  # private: other versions may have another one
            if client is None or self._shutdown:
                return super().export(spans)
            is_sent = client.export(encoder.request(spans)).success
            return SpanExportResult.SUCCESS if is_sent else SpanExportResult.FAILURE

    return Exporter(endpoint=endpoint)
