"""The outcome of a record: which outputs it causes, and what is counted."""

from typing import Literal

from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import SourceRecord
from streamlabel.models.core.values import value

__all__ = ["Outcome", "Outcomes"]


@value
class Outcome:
    """Everything a record causes: all of it, or what one of its tasks does.

    Attributes:
        outbounds: none for a skipped record, two for a copy to labels and review.
        reason: the first reason; empty for a plain label.
        message: of a dead letter: what happened, without the text.
        attempts: of a dead letter: how often it was tried.
        task: name of the task; None: the stream has only one.
        stage: of a cascade, the last one that was asked; None without a cascade.
        trace_id: of the trace, if the record is traced.
    """

    source: SourceRecord
    outbounds: tuple[Outbound, ...]
    route: Literal["label", "review", "copy", "dead_letter", "skip", "escalate"]
    reason: str = ""
    label: str | None = None
    confidence: float | None = None
    event_time_ms: int = 0
    message: str = ""
    attempts: int = 1
    task: str | None = None
    stage: str | None = None
    trace_id: str | None = None

    def traced(self, trace_id: str, outbounds: tuple[Outbound, ...]) -> "Outcome":
        """Return it as part of a trace that these outputs name.

        Written out, because ``replace`` takes several times as long.
        """
        return Outcome(
            self.source,
            outbounds,
            self.route,
            self.reason,
            self.label,
            self.confidence,
            self.event_time_ms,
            self.message,
            self.attempts,
            self.task,
            self.stage,
            trace_id,
        )


# The outcomes of a record: one for each of its tasks, delivered together; one at least.
Outcomes = tuple[Outcome, ...]
