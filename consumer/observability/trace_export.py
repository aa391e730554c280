"""Sends the spans of ``traces`` to a collector, and the last ones before the service ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from streamlabel import __version__
from streamlabel.config.settings import Settings
from streamlabel.consumer.observability.traces import Traces
from streamlabel.extras import require

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

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
    provider = await asyncio.to_thread(_provider, settings, exporter)
    try:
        yield Traces(
            provider.get_tracer("streamlabel", __version__),
            group=settings.kafka.group_id,
            sample=settings.tracing.sample,
            limit_bytes=limit_bytes,
        )
    finally:
        await asyncio.to_thread(provider.force_flush, _FLUSH_MS)
        await asyncio.to_thread(provider.shutdown)


def _provider(settings: Settings, exporter: "SpanExporter | None") -> Any:  # noqa: ANN401 of the SDK
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 with the extra
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415

    if exporter is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )

        exporter = OTLPSpanExporter(endpoint=settings.tracing.endpoint)
    about = {"service.name": settings.kafka.client_id, "service.version": __version__}
    provider = TracerProvider(
        sampler=ALWAYS_ON, resource=Resource.create(about), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
