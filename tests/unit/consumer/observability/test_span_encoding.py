"""Spans as a collector gets them: what we encode is what OpenTelemetry's own encoder makes."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from streamlabel.consumer.observability import span_encoding, trace_export
from streamlabel.consumer.observability.span_encoding import SpanEncoder
from streamlabel.consumer.observability.spans import Spans

NAMES = st.sampled_from(["send labels", "process texts", "skip", "发送"])
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["a", "messaging.system", "streamlabel.route"]),
    st.one_of(st.sampled_from(["kafka", "", "标签"]), st.integers(-(2**63), 2**63 - 1)),
)


@st.composite
def made(draw: st.DrawFn) -> list[ReadableSpan]:
    spans: list[ReadableSpan] = []
    maker = Spans(spans.append, Resource.create({"service.name": "s"}), "1")
    for _ in range(draw(st.integers(1, 6))):
        context = st.builds(
            trace.SpanContext,
            st.integers(1, 2**128 - 1),
            st.integers(1, 2**64 - 1),
            is_remote=st.booleans(),
        )
        code = draw(st.sampled_from(list(trace.StatusCode)))
        maker.end(
            draw(NAMES),
            draw(context),
            draw(st.none() | context),
            kind=draw(st.sampled_from(list(trace.SpanKind))),
            links=[trace.Link(each) for each in draw(st.lists(context, max_size=3))],
            start_time=draw(st.integers(0, 2**63 - 1)),
            end_time=draw(st.integers(0, 2**63 - 1)),
            attributes=draw(ATTRIBUTES),
            status=trace.Status(code),
        )
    return spans


def in_order(request: Any) -> Any:  # noqa: ANN401 a generated class
    """Attributes are a map: their order means nothing."""
    for scope in request.resource_spans[0].scope_spans:
        for span in scope.spans:
            attributes = sorted(span.attributes, key=lambda each: each.key)
            del span.attributes[:]
            span.attributes.extend(attributes)
    return request


@given(made())
@settings(max_examples=200)
def test_a_request_is_that_of_the_library(spans: list[ReadableSpan]) -> None:
    encoder = SpanEncoder()
    expected = in_order(encode_spans(spans))
    for _ in range(2):  # the second time from what was kept
        assert in_order(ExportTraceServiceRequest.FromString(encoder.request(spans))) == expected


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_encoding, "_MOST", 3)
    spans: list[ReadableSpan] = []
    maker = Spans(spans.append, Resource.create({}), "1")
    for number in range(20):
        maker.end(str(number), maker.named(), status=trace.Status(), start_time=1, end_time=2)
    encoder = SpanEncoder()
    found = ExportTraceServiceRequest.FromString(encoder.request(spans))
    assert [span.name for span in found.resource_spans[0].scope_spans[0].spans] == [
        str(number) for number in range(20)
    ]
    assert len(encoder._known) <= 3


@pytest.fixture
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest], list[int]]]:
    taken: list[ExportTraceServiceRequest] = []
    answers: list[int] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            taken.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(answers.pop(0) if answers else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", taken, answers
    server.shutdown()
    thread.join()
    server.server_close()


def one_span() -> list[ReadableSpan]:
    spans: list[ReadableSpan] = []
    Spans(spans.append, Resource.create({}), "1").end(
        "skip",
        trace.SpanContext(1, 2, is_remote=False),
        status=trace.Status(),
        start_time=1,
        end_time=2,
    )
    return spans


def test_the_exporter_sends_them(
    collector: tuple[str, list[ExportTraceServiceRequest], list[int]],
) -> None:
    endpoint, taken, answers = collector
    exporter, spans = trace_export._exporter(endpoint), one_span()
    assert exporter._client is not None  # type: ignore[attr-defined] # the faster way needs it
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    assert in_order(taken[0]) == in_order(encode_spans(spans))
    answers.append(400)  # refused, and not tried again
    assert exporter.export(spans) is SpanExportResult.FAILURE
    exporter.shutdown()
    assert exporter.export(spans) is SpanExportResult.FAILURE
    assert len(taken) == 2


def test_an_exporter_without_that_client_uses_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is private to the library, so another version may have another one."""
    given: list[object] = []
    monkeypatch.setattr(OTLPSpanExporter, "export", lambda _self, spans: given.append(spans))
    exporter, spans = trace_export._exporter(None), one_span()
    monkeypatch.setattr(exporter, "_client", None)
    exporter.export(spans)
    assert given == [spans]
