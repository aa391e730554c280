"""Texts through two services on a real Kafka, and the spans that they send, checked for breaks.

A producer writes texts with a trace each. The first service sends all of them to review, the second
one classifies those reviews; each is a program of its own. Both send their spans to a collector
here, over HTTP as to any other.
"""

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import yaml
from confluent_kafka import Producer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from streamlabel.consumer.core.trace_context import TraceContext, trace_context
from testing.kafka_broker import Cluster, wait_until

__all__ = ["Collector", "Span", "broken_parents", "collecting", "three_hops"]


@dataclass(frozen=True, slots=True)
class Span:
    """What matters of a span here; ``parent`` is 0 for the first one of a trace."""

    trace: int
    span: int
    parent: int
    name: str
    content: str


@dataclass
class Collector:
    """What was sent, and where to send it."""

    endpoint: str
    spans: list[Span] = field(default_factory=list)


@contextmanager
def collecting() -> Iterator[Collector]:
    """Take spans (OTLP over HTTP) on a port of this machine."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            collector.spans.extend(_spans(ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 of the base class
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    collector = Collector(f"http://127.0.0.1:{server.server_port}/v1/traces")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    int.from_bytes(span.trace_id),
                    int.from_bytes(span.span_id),
                    int.from_bytes(span.parent_span_id),
                    span.name,
                    str(span),
                )


def three_hops(
    kafka: Cluster, collector: Collector, *, texts: int, folder: Path, timeout_s: float = 120.0
) -> tuple[list[TraceContext], list[TraceContext | None]]:
    """Send texts through both services, until the last one has come out.

    Returns:
        The context of each text as the producer wrote it, and as the last output has it.
    """
    inputs, reviewed, labels, unused = (
        kafka.topic(name) for name in ("hop-texts", "hop-review", "hop-labels", "hop-unused")
    )
    sent = [TraceContext(number, 1, is_sampled=True) for number in range(1, texts + 1)]
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 20, "log_level": 0})
    for number, context in enumerate(sent):
        value = orjson.dumps({"id": str(number), "text": f"zanzibar number {number}"})
        producer.produce(inputs, value, headers=[("traceparent", context.header)])
        producer.poll(0)
    if producer.flush(60):
        raise TimeoutError("not all texts were written")
    first = {"input": inputs, "labels": unused, "review": reviewed, "threshold": 1.0}
    second = {
        "input": reviewed,
        "labels": labels,
        "review": unused,
        "threshold": 0.01,
    }
    with (
        _service(kafka, collector, "first", first, folder) as one,
        _service(kafka, collector, "second", second, folder) as other,
    ):

        def are_out() -> bool:
            if one.poll() is not None or other.poll() is not None:
                raise RuntimeError("a service has ended; its log says why")
            return sum(kafka.ends(labels).values()) >= texts

        wait_until(are_out, what="all texts came out", timeout_s=timeout_s, every_s=0.5)
    last = {
        int(json.loads(message.value() or b"")["id"]): trace_context(
            tuple((name, bytes(value)) for name, value in message.headers() or [])
        )
        for message in kafka.read(labels)
    }
    return sent, [last.get(number) for number in range(texts)]


@contextmanager
def _service(
    kafka: Cluster, collector: Collector, name: str, topics: dict[str, object], folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    config = folder / f"{name}.yaml"
    settings = {
        "kafka": {
            "bootstrap_servers": kafka.bootstrap,
            "group_id": f"{topics['input']}-{name}",
            "create_topics": True,
        },
        "input": {"topic": topics["input"]},
        "output": {
            "labels_topic": topics["labels"],
            "review_topic": topics["review"],
            "dead_letter_topic": f"{topics['input']}-dead",
        },
        "model": {"backend": "fake"},
        "routing": {"threshold": topics["threshold"]},
        "http": {"enabled": False},
        "tracing": {"enabled": True, "sample": 0.0, "endpoint": collector.endpoint},
    }
    config.write_text(yaml.safe_dump(settings))
    with (folder / f"{name}.log").open("w") as log:
        service = subprocess.Popen(
            [sys.executable, "-m", "streamlabel", "run", "-c", str(config)], stdout=log, stderr=log
        )
        try:
            yield service
        finally:
            service.terminate()
            if service.wait(60):
                raise RuntimeError(f"{name} failed: {(folder / f'{name}.log').read_text()[-2000:]}")


def broken_parents(
    spans: list[Span], sent: list[TraceContext], last: list[TraceContext | None]
) -> list[str]:
    """Return what is wrong with each trace that is not one chain: producer, first, second, output.

    Args:
        spans: all that were collected.
        sent: of the producer.
        last: of the outputs, in the same order; None: there is no output with a context.
    """
    by_trace: dict[int, dict[int, Span]] = {}
    for span in spans:
        by_trace.setdefault(span.trace, {})[span.span] = span
    wrong = []
    for begun, ended in zip(sent, last, strict=True):
        found = by_trace.get(begun.trace, {})
        at = None if ended is None else found.get(ended.span)
        chain: list[Span] = []
        while at is not None and len(chain) < 3:
            chain.append(at)
            at = found.get(at.parent)
        if ended is None or ended.trace != begun.trace:
            wrong.append(f"{begun}: the output has another trace, or none: {ended}")
        elif len(chain) != 2 or len(found) != 2 or chain[-1].parent != begun.span:
            wrong.append(f"{begun}: {len(chain)} of 2 spans in a chain, {len(found)} in the trace")
    return wrong
