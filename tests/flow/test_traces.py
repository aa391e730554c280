"""Traces: each traced record has a span under its producer's, which its outputs name."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from streamlabel.config.settings import Settings
from streamlabel.consumer.core.metric_names import HistogramName
from streamlabel.consumer.core.records import Position, SourceRecord, TextRecord
from streamlabel.consumer.core.trace_context import TraceContext, trace_context
from streamlabel.consumer.observability.counting import count_outcomes
from streamlabel.consumer.observability.trace_export import open_traces
from streamlabel.consumer.observability.traces import Traces
from streamlabel.consumer.output.outcome import Outcome
from streamlabel.consumer.pipeline import Pipeline
from streamlabel.consumer.plans.job import Job
from tests.doubles import RecordingMetrics
from tests.flow.rig import Rig, rig
from tests.flow.trace import calls_per_record

PARENT = TraceContext(0xABC, 0xDEF, is_sampled=True)
UNSAMPLED = PARENT._replace(is_sampled=False)
SECRET = "0.9 zanzibar"
pytestmark = pytest.mark.may_block(reason="the SDK waits for its thread when it is shut down")


@asynccontextmanager
async def traced(
    sample: float = 0.0, limits: dict[str, int] | None = None
) -> AsyncIterator[tuple[Rig, InMemorySpanExporter]]:
    exporter = InMemorySpanExporter()
    settings = Settings.model_validate(
        {"model": {"backend": "fake"}, "tracing": {"enabled": True, "sample": sample}}
    )
    async with (
        rig(limits=limits) as found,
        open_traces(settings, found.sink.limit_bytes, exporter=exporter) as traces,
    ):
        assert traces is not None
        found.pipeline.watch_jobs(traces)
        yield found, exporter
        await found.drain()


def traces_of(spans: list[ReadableSpan], *, sample: float, draw: Callable[[], float]) -> Traces:
    return Traces(
        spans.append,
        resource=Resource.get_empty(),
        version="0",
        group="g",
        sample=sample,
        limit_bytes=lambda _: 1_000_000,
        draw=draw,
    )


async def post(
    found: Rig, context: TraceContext | None, *, value: bytes | None = None, text: str = SECRET
) -> None:
    headers = () if context is None else (("traceparent", context.header),)
    found.broker.append("texts", value or f'{{"text": "{text}"}}'.encode(), headers=headers)
    await found.clock.advance(0.5)


def named(found: Rig, topic: str) -> TraceContext | None:
    [outbound] = found.broker.written(topic)
    return trace_context(outbound.headers)


def kinds(exporter: InMemorySpanExporter) -> tuple[list[ReadableSpan], list[ReadableSpan]]:
    """Return the spans of records and those of batches."""
    spans = exporter.get_finished_spans()
    batches = [span for span in spans if "messaging.batch.message_count" in (span.attributes or {})]
    return [span for span in spans if span not in batches], batches


@pytest.mark.parametrize(("text", "topic"), [(SECRET, "labels"), ("0.6 zanzibar", "review")])
async def test_the_output_names_a_span_under_that_of_the_producer(text: str, topic: str) -> None:
    async with traced() as (found, exporter):
        await post(found, PARENT, text=text)
        context = named(found, topic)
    [span], [batch] = kinds(exporter)
    assert span.parent is not None
    assert (span.parent.trace_id, span.parent.span_id) == (PARENT.trace, PARENT.span)
    assert context == TraceContext(span.context.trace_id, span.context.span_id, is_sampled=True)
    assert context.trace == PARENT.trace
    assert span.name == f"send {topic}"
    assert batch.parent is None
    assert [link.context.span_id for link in batch.links] == [PARENT.span]
    assert [link.context.span_id for link in span.links] == [batch.context.span_id]


async def test_a_record_that_its_producer_did_not_sample_is_not_traced() -> None:
    async with traced(sample=1.0) as (found, exporter):
        await post(found, UNSAMPLED)
        assert named(found, "labels") == UNSAMPLED
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize(("sample", "spans"), [(0.0, 0), (1.0, 1)])
async def test_a_record_without_a_context_begins_a_trace_as_often_as_asked(
    sample: float, spans: int
) -> None:
    async with traced(sample=sample) as (found, exporter):
        await post(found, None)
        context = named(found, "labels")
    records, batches = kinds(exporter)
    assert len(records) == len(batches) == spans
    assert (context is not None) == bool(spans)
    assert all(span.parent is None for span in records)


@pytest.mark.parametrize("sample", [0.01, 0.1, 0.5, 0.9])
async def test_as_many_records_begin_a_trace_as_asked_at_independent_places(sample: float) -> None:
    """The distances between them are those of independent draws: geometric."""
    count = 40_000
    draw = random.Random(4).random
    traces = traces_of([], sample=sample, draw=draw)
    record = TextRecord(
        SourceRecord(Position("texts", 0, 0), None, b"", (), 0, 0.0), "1", "text", event_time_ms=0
    )
    delivery, slot = cast("Any", None), cast("Any", None)
    jobs = [Job(record, delivery, slot) for _ in range(count)]
    left = jobs
    while left:  # as they are read: some hundred, or few
        together = min(len(left), 1 + int(500 * draw()))
        traces.opened(left[:together])
        left = left[together:]
    began = [place for place, job in enumerate(jobs) if job.delivery is not delivery]
    spread = (sample * (1 - sample) / count) ** 0.5
    assert len(began) / count == pytest.approx(sample, abs=4 * spread)
    beside = sum(b - a == 1 for a, b in pairwise(began)) / len(began)
    assert beside == pytest.approx(sample, abs=4 * (sample * (1 - sample) / len(began)) ** 0.5)


async def test_a_batch_has_a_link_to_each_traced_record_in_it() -> None:
    async with traced() as (found, exporter):
        found.classifier.open.clear()
        await post(found, None, text="0.9 first")
        for number in range(1, 4):
            await post(found, PARENT._replace(span=number), text=f"0.9 text {number}")
        await post(found, None, text="0.9 last")
        found.classifier.open.set()
        await found.clock.advance(0.5)
    records, batches = kinds(exporter)
    assert len(records) == 3
    assert sorted(link.context.span_id for each in batches for link in each.links) == [1, 2, 3]


async def test_a_dead_letter_keeps_its_headers_and_its_span_says_why() -> None:
    async with traced() as (found, exporter):
        await post(found, PARENT, text="0.9 poison")
        await found.clock.advance(30)
        assert named(found, "dead-letters") == PARENT
    [span], _ = kinds(exporter)
    assert span.attributes is not None
    assert span.attributes["error.type"] == "inference_error"
    assert not span.status.is_ok


async def test_no_span_has_a_text_or_a_label() -> None:
    async with traced(sample=1.0) as (found, exporter):
        await post(found, PARENT)
        await post(found, None, text="0.6 zanzibar")
    shown = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert "zanzibar" not in shown
    assert '"yes"' not in shown


async def test_latencies_have_the_trace_as_an_example() -> None:
    async with traced() as (found, exporter):
        await post(found, PARENT)
        await post(found, None)
    assert found.metrics.examples["end_to_end_seconds"] == [f"{PARENT.trace:032x}"]
    assert exporter.get_finished_spans()


async def test_a_traced_record_does_not_make_the_others_cost_a_call_each() -> None:
    """Few records are traced, and nearly every batch and every delivery has one of them."""
    steps: list[str] = []

    class Steps(RecordingMetrics):
        def observe(
            self, name: HistogramName, value: float, *, trace_id: str | None = None, **labels: str
        ) -> None:
            steps.append(name)
            super().observe(name, value, trace_id=trace_id, **labels)

    source = SourceRecord(Position("texts", 0, 0), None, b"{}", (), 0, 0.0)
    plain = Outcome(source, (), "label", label="yes", confidence=0.9)
    named = replace(plain, trace_id="abc")
    metrics = Steps()
    count_outcomes([(plain,), (named,), *[(plain,)] * 98], 1000, metrics)
    assert steps == ["end_to_end_seconds"]
    assert len(metrics.observations["end_to_end_seconds"]) == 100
    assert metrics.examples["end_to_end_seconds"] == ["abc"]


async def test_with_tracing_a_record_that_is_not_traced_costs_no_call_more() -> None:
    traces = traces_of([], sample=0.02, draw=lambda: 0.5)  # one of 35 is traced
    off, on = await calls_per_record(), await calls_per_record(watch=traces)
    assert on.keys() == off.keys()
    assert sum(on.values()) <= sum(off.values()) + 0.5  # those of the one that is traced


async def test_an_output_that_would_become_too_large_keeps_its_context() -> None:
    """A review is shortened to what its topic accepts, which leaves no room for a header."""
    async with traced(sample=1.0, limits={"review": 1200}) as (found, exporter):
        await post(found, None, text="0.6 " + "long " * 500)
        assert named(found, "review") is None
    assert exporter.get_finished_spans()


async def test_off_means_that_headers_stay_as_they_are() -> None:
    async with rig() as found:
        await post(found, PARENT)
        assert named(found, "labels") == PARENT


async def test_off_means_that_no_step_of_a_record_knows_of_tracing() -> None:
    """Neither a call nor a branch: the names in the byte code of what a record passes."""
    seen = await calls_per_record()
    assert not [file for file, _ in seen if "trace" in file]
    called = {name for file, name in seen if file == "pipeline.py" and "<" not in name}
    own = {name.removeprefix("Pipeline.") for name in called}
    assert own >= {"_conclude"}
    own.add("_start")  # one call for many records, with a loop over them
    codes = [getattr(Pipeline, name).__code__ for name in own]
    names = [name for code in codes for name in code.co_names]
    assert not [name for name in names if "trace" in name or "watch" in name]
