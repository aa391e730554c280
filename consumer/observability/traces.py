"""One trace for each text: from its producer over this service to those who read its outputs.

A record that is traced has a span that is a child of the span in its ``traceparent``, from reading
to its outcome; the outputs name that span, so that their readers continue the trace. Each batch
has a span with links to the records in it, because a batch has no single parent. No span contains a
text or a label.

OpenTelemetry is imported when tracing is enabled, and nothing is done per record otherwise: a job
of a traced record hands its outcomes to the span's ``_Traced`` instead of its partition's delivery,
so the pipeline has no branch for it.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Final

from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import TextRecord
from streamlabel.consumer.core.trace_context import TraceContext, trace_context, with_context
from streamlabel.consumer.delivery.offset_tracker import Slot
from streamlabel.consumer.output.outcome import Outcomes
from streamlabel.consumer.plans.job import Classified, Delivery, Job, Result

if TYPE_CHECKING:
    from types import ModuleType

    from opentelemetry.trace import Span, SpanContext, Tracer

__all__ = ["Traces"]

_NS_PER_MS: Final = 1_000_000
# Models behind these back ends are language models, which have names of their own for attributes.
_LANGUAGE_MODELS: Final = frozenset({"vllm", "remote", "generative"})

_JOB: Final = itemgetter(0)
_DELIVERY: Final = attrgetter("delivery")
_TOPIC: Final = attrgetter("record.source.position.topic")


@dataclass(slots=True, eq=False)
class _Traced:
    """The span of a record, the context of its producer, and where its outcomes go then."""

    traces: "Traces"
    span: "Span"
    parent: "SpanContext | None"
    delivery: Delivery

    @property
    def closed(self) -> bool:
        """Whether the outcome is no longer needed."""
        return self.delivery.closed

    def finished(self, slot: Slot[Outcomes], outcomes: Outcomes) -> None:
        """End the span, and hand on the outcomes with outputs that name it."""
        self.delivery.finished(slot, self.traces.end(self.span, outcomes))


class Traces:
    """Makes the spans; all methods are for the event loop.

    Args:
        tracer: records every span that it is asked for; which ones these are is decided here.
        group: the consumer group, an attribute of batches.
        sample: fraction of the records without a trace context that begin a trace.
        limit_bytes: largest output that a topic accepts; a context is not added to a larger one.
        draw: returns a random number in [0, 1).
    """

    def __init__(
        self,
        tracer: "Tracer",
        *,
        group: str,
        sample: float,
        limit_bytes: Callable[[str], int],
        draw: Callable[[], float] = random.random,
    ) -> None:
        from opentelemetry import context, trace  # noqa: PLC0415 with the extra

        self._otel: ModuleType = trace
        self._root = context.Context()
        self._tracer = tracer
        self._group = group
        self._sample = sample
        self._limit_bytes = limit_bytes
        self._draw = draw

    def open_job(self, record: TextRecord, delivery: Delivery, slot: Slot[Outcomes]) -> Job:
        """Return the job of a record that was read; begin its span if it is traced."""
        headers = record.source.headers
        context = trace_context(headers) if headers else None
        if context is None:
            if self._draw() >= self._sample:
                return Job(record, delivery, slot)
        elif not context.is_sampled:
            return Job(record, delivery, slot)
        return Job(record, self._begin(record, context, delivery), slot)

    def _begin(
        self, record: TextRecord, context: TraceContext | None, delivery: Delivery
    ) -> _Traced:
        topic, partition, offset = record.source.position
        parent = None if context is None else self._remote(context)
        span = self._tracer.start_span(
            f"process {topic}",
            context=self._root if parent is None else self._under(parent),
            kind=self._otel.SpanKind.PRODUCER,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.name": "send",
                "messaging.operation.type": "send",
                "streamlabel.source.topic": topic,
                "messaging.destination.partition.id": str(partition),
                "messaging.kafka.offset": offset,
            },
        )
        return _Traced(self, span, parent, delivery)

    def batch(self, results: Sequence[tuple[Job, Result]], *, now_ns: int) -> None:
        """Record the batch behind these results, if one of its records is traced.

        Args:
            results: of a deployment.
            now_ns: epoch nanoseconds.
        """
        jobs = list(map(_JOB, results))
        # Without a step of Python for each: nearly all records of a batch are not traced.
        traced = [each for each in dict.fromkeys(map(_DELIVERY, jobs)) if isinstance(each, _Traced)]
        if not traced:
            return
        deployment = results[0][1].deployment
        took_ms = next(
            (each.timings.inference_ms for _, each in results if isinstance(each, Classified)), 0.0
        )
        topics = sorted(set(map(_TOPIC, jobs)))
        span = self._tracer.start_span(
            f"process {', '.join(topics)}",
            context=self._root,
            kind=self._otel.SpanKind.CONSUMER,
            links=[self._otel.Link(each.parent or each.span.get_span_context()) for each in traced],
            start_time=now_ns - int(took_ms * _NS_PER_MS),
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": ", ".join(topics),
                "messaging.batch.message_count": len(results),
                "messaging.consumer.group.name": self._group,
                "streamlabel.deployment": deployment.id,
                **_of_a_language_model(deployment.classifier.identity),
            },
        )
        for each in traced:
            each.span.add_link(span.get_span_context())
        span.end(now_ns)

    def end(self, span: "Span", outcomes: Outcomes) -> Outcomes:
        """End the span of a record; return its outcomes with outputs that name the span.

        Dead letters keep the headers of their record as they are.
        """
        own = span.get_span_context()
        context = TraceContext(own.trace_id, own.span_id, is_sampled=True)
        topics = ", ".join(sorted({o.topic for each in outcomes for o in each.outbounds}))
        span.update_name(f"send {topics}" if topics else "skip")
        span.set_attributes(
            {
                "messaging.destination.name": topics,
                "streamlabel.route": ", ".join(each.route for each in outcomes),
            }
        )
        for outcome in outcomes:
            if outcome.route == "dead_letter":
                span.set_attribute("error.type", outcome.reason)
                span.set_status(self._otel.StatusCode.ERROR)
        span.end()
        name = f"{own.trace_id:032x}"
        return tuple(
            replace(
                outcome,
                trace_id=name,
                outbounds=tuple(self._named(each, context) for each in outcome.outbounds)
                if outcome.route != "dead_letter"
                else outcome.outbounds,
            )
            for outcome in outcomes
        )

    def _named(self, outbound: Outbound, context: TraceContext) -> Outbound:
        named = replace(outbound, headers=with_context(outbound.headers, context))
        return named if named.size_bytes <= self._limit_bytes(outbound.topic) else outbound

    def _remote(self, context: TraceContext) -> "SpanContext":
        found: SpanContext = self._otel.SpanContext(
            context.trace,
            context.span,
            is_remote=True,
            trace_flags=self._otel.TraceFlags(self._otel.TraceFlags.SAMPLED),
        )
        return found

    def _under(self, parent: "SpanContext") -> Any:  # noqa: ANN401 a context of OpenTelemetry
        return self._otel.set_span_in_context(self._otel.NonRecordingSpan(parent), self._root)


def _of_a_language_model(identity: Any) -> dict[str, str]:  # noqa: ANN401 any identity
    if identity.backend not in _LANGUAGE_MODELS:
        return {}
    return {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": identity.backend,
        "gen_ai.request.model": identity.name,
    }
