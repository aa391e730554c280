"""One trace for each text: from its producer over this service to those who read its outputs.

A record that is traced has a span that is a child of the span in its ``traceparent``, from reading
to its outcome; the outputs name that span, so that their readers continue the trace. Each batch
has a span with links to the records in it, because a batch has no single parent. No span contains a
text or a label.

OpenTelemetry is imported when tracing is enabled, and nothing is done per record otherwise: a job
of a traced record hands its outcomes to the span's ``_Traced`` instead of its partition's delivery,
so the pipeline has no branch for it. With tracing, too, a record that is not traced costs no step
of its own, as long as records have no headers.
"""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import Position
from streamlabel.consumer.core.trace_context import TraceContext, trace_context, with_context
from streamlabel.consumer.delivery.offset_tracker import Slot
from streamlabel.consumer.observability.spans import Spans
from streamlabel.consumer.output.outcome import Outcomes
from streamlabel.consumer.plans.job import Classified, Delivery, Job, Result

if TYPE_CHECKING:
    from types import ModuleType

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Link, SpanContext

__all__ = ["Traces"]

_NS_PER_MS: Final = 1_000_000
_HEADERS: Final = attrgetter("record.source.headers")
# Models behind these back ends are language models, which have names of their own for attributes.
_LANGUAGE_MODELS: Final = frozenset({"vllm", "remote", "generative"})


@dataclass(slots=True, eq=False)
class _Traced:
    """The span of a record while it is processed, and where its outcomes go then.

    Attributes:
        position: of the record.
        own: names the span.
        parent: the span that the record came out of; None: it begins a trace.
        start_ns: epoch nanoseconds.
        links: to the spans of the batches that the record was in.
    """

    traces: "Traces"
    delivery: Delivery
    position: Position
    own: "SpanContext"
    parent: "SpanContext | None"
    start_ns: int
    links: "list[Link]"

    @property
    def closed(self) -> bool:
        """Whether the outcome is no longer needed."""
        return self.delivery.closed

    def finished(self, slot: Slot[Outcomes], outcomes: Outcomes) -> None:
        """End the span, and hand on the outcomes with outputs that name it."""
        self.delivery.finished(slot, self.traces.end(self, outcomes))


class Traces:
    """Makes the spans; all methods are for the event loop.

    Args:
        emit: takes a span that has ended.
        resource: what the spans are of, an attribute of the SDK's spans.
        version: of this program.
        group: the consumer group, an attribute of batches.
        sample: fraction of the records without a trace context that begin a trace.
        limit_bytes: largest output that a topic accepts; a context is not added to a larger one.
        draw: returns a random number in [0, 1).
    """

    def __init__(
        self,
        emit: "Callable[[ReadableSpan], None]",
        *,
        resource: "Resource",
        version: str,
        group: str,
        sample: float,
        limit_bytes: Callable[[str], int],
        draw: Callable[[], float] = random.random,
    ) -> None:
        from opentelemetry import trace  # noqa: PLC0415 with the extra

        self._otel: ModuleType = trace
        self._unset = trace.Status(trace.StatusCode.UNSET)
        self._failed = trace.Status(trace.StatusCode.ERROR)
        self._spans = Spans(emit, resource, version)
        self._group = group
        self._sample = sample
        self._limit_bytes = limit_bytes
        self._draw = draw
        # A number is drawn for each trace that is begun, and not for each record.
        self._left = self._distance()

    def opened(self, jobs: Sequence[Job]) -> None:
        """Begin the spans of those records that are traced."""
        start_ns = time.time_ns()
        if any(map(_HEADERS, jobs)):
            for job in jobs:
                self._look_at(job, start_ns)
            return
        count, place = len(jobs), self._left
        while place < count:
            self._begin(jobs[int(place)], None, start_ns)
            place += 1 + self._distance()
        self._left = place - count

    def _look_at(self, job: Job, start_ns: int) -> None:
        headers = job.record.source.headers
        context = trace_context(headers) if headers else None
        if context is not None:
            if context.is_sampled:
                self._begin(job, context, start_ns)
        elif self._left:
            self._left -= 1
        else:
            self._left = self._distance()
            self._begin(job, None, start_ns)

    def _distance(self) -> float:
        """Return how many records without a context follow before the next one that is traced."""
        if not 0 < self._sample < 1:
            return 0 if self._sample else math.inf
        return math.floor(math.log(1 - self._draw()) / math.log1p(-self._sample))

    def _begin(self, job: Job, context: TraceContext | None, start_ns: int) -> None:
        parent = None if context is None else self._spans.remote(context)
        own = self._spans.named(None if context is None else context.trace)
        position = job.record.source.position
        job.delivery = _Traced(self, job.delivery, position, own, parent, start_ns, [])

    def batch(self, results: Sequence[tuple[Job, Result]], *, now_ns: int) -> None:
        """Record the batch behind these results, if one of its records is traced.

        Args:
            results: of a deployment.
            now_ns: epoch nanoseconds.
        """
        # One step for each, because nearly all records of a batch are not traced: then a job for
        # each partition is left, and one for each traced record.
        jobs = {job.delivery: job for job, _ in results}
        traced = [each for each in jobs if isinstance(each, _Traced)]
        if not traced:
            return
        deployment = results[0][1].deployment
        took_ms = next(
            (each.timings.inference_ms for _, each in results if isinstance(each, Classified)), 0.0
        )
        topics = ", ".join(sorted({j.record.source.position.topic for j in jobs.values()}))
        own = self._spans.named()
        link = self._otel.Link(own)
        for each in traced:
            each.links.append(link)
        self._spans.end(
            f"process {topics}",
            own,
            kind=self._otel.SpanKind.CONSUMER,
            links=[self._otel.Link(each.parent or each.own) for each in traced],
            start_time=now_ns - int(took_ms * _NS_PER_MS),
            end_time=now_ns,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": topics,
                "messaging.batch.message_count": len(results),
                "messaging.consumer.group.name": self._group,
                "streamlabel.deployment": deployment.id,
                **_of_a_language_model(deployment.classifier.identity),
            },
        )

    def end(self, traced: _Traced, outcomes: Outcomes) -> Outcomes:
        """End the span of a record; return its outcomes with outputs that name the span.

        Dead letters keep the headers of their record as they are.
        """
        own, (topic, partition, offset) = traced.own, traced.position
        topics = ", ".join(sorted({o.topic for each in outcomes for o in each.outbounds}))
        attributes: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "streamlabel.source.topic": topic,
            "messaging.destination.partition.id": str(partition),
            "messaging.kafka.offset": offset,
            "messaging.destination.name": topics,
            "streamlabel.route": ", ".join([each.route for each in outcomes]),
        }
        dead = [outcome.reason for outcome in outcomes if outcome.route == "dead_letter"]
        if dead:
            attributes["error.type"] = dead[-1]
        self._spans.end(
            f"send {topics}" if topics else "skip",
            own,
            traced.parent,
            kind=self._otel.SpanKind.PRODUCER,
            links=traced.links,
            start_time=traced.start_ns,
            end_time=time.time_ns(),
            attributes=attributes,
            status=self._failed if dead else self._unset,
        )
        header = TraceContext(own.trace_id, own.span_id, is_sampled=True).header
        name = f"{own.trace_id:032x}"
        return tuple(
            [
                outcome.traced(
                    name,
                    outcome.outbounds
                    if outcome.route == "dead_letter"
                    else tuple([self._named(each, header) for each in outcome.outbounds]),
                )
                for outcome in outcomes
            ]
        )

    def _named(self, outbound: Outbound, header: bytes) -> Outbound:
        headers = with_context(outbound.headers, header)
        named = Outbound(outbound.topic, outbound.key, outbound.value, headers, outbound.position)
        return named if named.size_bytes <= self._limit_bytes(outbound.topic) else outbound


def _of_a_language_model(identity: Any) -> dict[str, str]:  # noqa: ANN401 any identity
    if identity.backend not in _LANGUAGE_MODELS:
        return {}
    return {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": identity.backend,
        "gen_ai.request.model": identity.name,
    }
