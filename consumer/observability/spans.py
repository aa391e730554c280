"""Spans of OpenTelemetry that are made when they end, complete, and handed to what exports them.

The SDK's own spans can be changed while they run, with locks and checks for every attribute, which
costs several times as much.
"""

import random
from functools import partial
from typing import TYPE_CHECKING, Any

from streamlabel.consumer.core.trace_context import TraceContext

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

__all__ = ["Spans"]


class Spans:
    """Names spans when they begin, and makes them when they end.

    Args:
        emit: takes a span that has ended.
        resource: what the spans are of.
        version: of this program.
    """

    def __init__(
        self, emit: "Callable[[ReadableSpan], None]", resource: "Resource", version: str
    ) -> None:
        from opentelemetry import trace  # noqa: PLC0415 with the extra
        from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415

        self._emit = emit
        scope = InstrumentationScope("streamlabel", version)
        self._made = partial(ReadableSpan, resource=resource, instrumentation_scope=scope)
        flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
        self._context = partial(trace.SpanContext, trace_flags=flags)

    def named(self, trace: int | None = None) -> "SpanContext":
        """Return the name of a new span, in a trace or beginning one; zeros are invalid."""
        return self._context(
            trace or random.getrandbits(128) or 1, random.getrandbits(64) or 1, is_remote=False
        )

    def remote(self, context: TraceContext) -> "SpanContext":
        """Return the name of the span that a record came out of."""
        return self._context(context.trace, context.span, is_remote=True)

    def end(self, *given: Any, **more: Any) -> None:  # noqa: ANN401 as ReadableSpan takes them
        """Make a span and emit it; the arguments are those of the SDK's ReadableSpan."""
        self._emit(self._made(*given, **more))
