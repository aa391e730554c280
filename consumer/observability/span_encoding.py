"""Encodes spans for a collector (OTLP), several times as fast as the exporter's own encoder.

What is the same in many spans (name, kind, status, attributes that are texts) is encoded once and
parsed into each message; identifiers, times, links and numbers are set one by one. The messages are
those of ``opentelemetry-proto``, and a test compares them with the exporter's.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanContext
    from opentelemetry.util.types import AttributeValue

__all__ = ["SpanEncoder"]

# Topics, partitions and routes repeat; a service that met more would only encode them again.
_MOST: Final = 4096


class SpanEncoder:
    """Encodes the spans of ``traces``: of one resource and scope, without events or trace states.

    Attributes are texts and whole numbers, and links have none.
    """

    def __init__(self) -> None:
        from opentelemetry.exporter.otlp.proto.common import trace_encoder  # noqa: PLC0415 extra
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2  # noqa: PLC0415
        from opentelemetry.proto.trace.v1 import trace_pb2  # noqa: PLC0415

        self._pb: Any = trace_pb2
        self._request: Any = trace_service_pb2.ExportTraceServiceRequest
        self._by_library: Any = trace_encoder.encode_spans
        self._known: dict[object, bytes] = {}
        self._around: tuple[Resource, InstrumentationScope | None, Any] | None = None
        local = trace_pb2.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
        self._flags = (local, local | trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)

    def request(self, spans: Sequence["ReadableSpan"]) -> bytes:
        """Return a request of ``ExportTraceServiceRequest`` with the spans, one at least."""
        first = spans[0]
        around = self._around
        if around is None or around[0] is not first.resource or around[1] is not _scope(first):
            empty = self._by_library([first])
            del empty.resource_spans[0].scope_spans[0].spans[:]
            around = self._around = (first.resource, _scope(first), empty)
        made = self._request()
        made.CopyFrom(around[2])
        made.resource_spans[0].scope_spans[0].spans.extend(map(self._span, spans))
        return bytes(made.SerializeToString())

    def _span(self, span: "ReadableSpan") -> Any:  # noqa: ANN401 a generated class
        attributes = (span.attributes or {}).items()
        texts = tuple([each for each in attributes if type(each[1]) is str])
        key = (span.name, span.kind, span.status.status_code, texts)
        same = self._known.get(key)
        if same is None:
            same = self._same(span, texts)
        made = self._pb.Span.FromString(same)
        own, parent = span.context, span.parent
        made.trace_id = own.trace_id.to_bytes(16, "big")
        made.span_id = own.span_id.to_bytes(8, "big")
        made.start_time_unix_nano, made.end_time_unix_nano = span.start_time, span.end_time
        if parent is not None:
            made.parent_span_id = parent.span_id.to_bytes(8, "big")
            made.flags = self._flags[parent.is_remote]
        if len(texts) < len(attributes):
            for name, number in attributes:
                if type(number) is not str:
                    made.attributes.add(key=name).value.int_value = number
        for link in span.links:
            self._link(made, link)
        return made

    def _same(self, span: "ReadableSpan", texts: "tuple[tuple[str, AttributeValue], ...]") -> bytes:
        """Encode what other spans have, too."""
        from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415 with the extra

        alike = ReadableSpan(
            span.name,
            span.context,
            resource=span.resource,
            instrumentation_scope=_scope(span),
            kind=span.kind,
            status=span.status,
            attributes=dict(texts),
        )
        made = self._by_library([alike]).resource_spans[0].scope_spans[0].spans[0]
        if len(self._known) >= _MOST:
            self._known.clear()
        key = (span.name, span.kind, span.status.status_code, texts)
        same = self._known[key] = bytes(made.SerializeToString())
        return same

    def _link(self, made: Any, link: "Link") -> None:  # noqa: ANN401 a generated class
        context: SpanContext = link.context
        made.links.add(
            trace_id=context.trace_id.to_bytes(16, "big"),
            span_id=context.span_id.to_bytes(8, "big"),
            flags=self._flags[context.is_remote],
        )


def _scope(span: "ReadableSpan") -> "InstrumentationScope | None":
    return span.instrumentation_scope
