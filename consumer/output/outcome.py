"""The outcome of a record: which outputs it causes, and what is counted."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from streamlabel import __version__
from streamlabel.config.kafka import OutputSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import SourceRecord, TextRecord
from streamlabel.consumer.output.dead_letters import bare_dead_letter, dead_letter
from streamlabel.consumer.output.formats import ValueEncoder
from streamlabel.consumer.output.message_encoder import MessageEncoder
from streamlabel.consumer.output.timings import Timings
from streamlabel.consumer.routing.decision import Decision
from streamlabel.consumer.routing.router import RoutingPolicy
from streamlabel.errors import BrokerError, RecordError
from streamlabel.models.core.classifier import Classifier, Prediction
from streamlabel.models.core.values import value

__all__ = ["Outcome", "OutcomeBuilder", "encoder_for"]


@value
class Outcome:
    """Everything one record causes.

    Attributes:
        outbounds: none for a skipped record, two for a copy to labels and review.
        reason: the first reason; empty for a plain label.
        message: of a dead letter: what happened, without the text.
        attempts: of a dead letter: how often it was tried.
    """

    source: SourceRecord
    outbounds: tuple[Outbound, ...]
    route: Literal["label", "review", "copy", "dead_letter", "skip"]
    reason: str = ""
    label: str | None = None
    confidence: float | None = None
    event_time_ms: int = 0
    message: str = ""
    attempts: int = 1


class OutcomeBuilder:
    """Makes outcomes.

    Args:
        topics: where outputs go.
        limit_bytes: largest output of a topic; larger ones become dead letters.
    """

    def __init__(
        self,
        *,
        topics: OutputSettings,
        limit_bytes: Callable[[str], int],
        version: str = __version__,
    ) -> None:
        self._topics = topics
        self._limit_bytes = limit_bytes
        self._version = version

    @property
    def dead_letter_topic(self) -> str:
        """The topic for records that cannot be classified."""
        return self._topics.dead_letter_topic

    def result(
        self,
        record: TextRecord,
        prediction: Prediction,
        decision: Decision,
        timings: Timings,
        *,
        encoder: ValueEncoder,
    ) -> Outcome:
        """Return the outcome of a classified text; ``encoder`` is that of its deployment."""
        outbounds: list[Outbound] = []
        if decision.route != "review":
            topic = self._topics.labels_topic
            outbounds.append(encoder.label(record, prediction, decision, timings, topic=topic))
        if decision.route != "label":
            topic = self._topics.review_topic
            limit = self._limit_bytes(topic)
            outbounds.append(
                encoder.review(
                    record, prediction, decision, timings, topic=topic, limit_bytes=limit
                )
            )
        for outbound in outbounds:
            limit = self._limit_bytes(outbound.topic)
            if outbound.size_bytes > limit:
                message = (
                    f"its output has {outbound.size_bytes} bytes, {outbound.topic} accepts {limit}"
                )
                return self.dead(record.source, RecordError("output_too_large", message))
        return Outcome(
            source=record.source,
            outbounds=tuple(outbounds),
            route=decision.route,
            reason=decision.reasons[0] if decision.reasons else "",
            label=decision.label,
            confidence=decision.confidence,
            event_time_ms=record.event_time_ms,
        )

    def dead(self, source: SourceRecord, error: RecordError) -> Outcome:
        """Return the outcome of a record that cannot be classified."""
        topic = self._topics.dead_letter_topic
        outbound = self._dead_letter(source, error, self._limit_bytes(topic))
        return Outcome(
            source,
            (outbound,),
            "dead_letter",
            error.reason,
            event_time_ms=source.timestamp_ms,
            message=error.message,
            attempts=error.attempts,
        )

    def skipped(self, source: SourceRecord, reason: str) -> Outcome:
        """Return the outcome of a record that is skipped according to the settings."""
        return Outcome(source, (), "skip", reason, event_time_ms=source.timestamp_ms)

    def refused(self, outcome: Outcome, outbound: Outbound, why: RecordError) -> Outcome:
        """Return the new outcome of a record whose output the broker refuses: a dead letter.

        If that is refused too, it is replaced by a dead letter with less of the record.

        Args:
            outcome: the outcome until now.
            outbound: the output that is refused.
            why: the reason and, as the message, the topic and the broker's error.

        Raises:
            BrokerError: even the smallest dead letter is refused.
        """
        if outbound.topic != self._topics.dead_letter_topic:
            return self.dead(outcome.source, why)
        message = f"{outcome.message}; the full dead letter was refused: {why.message}"
        error = RecordError(outcome.reason, message, outcome.attempts)
        if why.reason == "output_too_large":
            least = self._dead_letter(outcome.source, error, 0)
        else:
            least = bare_dead_letter(
                outcome.source, topic=outbound.topic, error=error, version=self._version
            )
        if _shape(least) == _shape(outbound):
            raise BrokerError(
                f"even a dead letter without the record's value is refused: {why.message}. Change"
                f" the settings of {outbound.topic} so that it accepts any record"
            )
        return replace(outcome, outbounds=(least,))

    def _dead_letter(self, source: SourceRecord, error: RecordError, limit_bytes: int) -> Outbound:
        return dead_letter(
            source,
            topic=self._topics.dead_letter_topic,
            error=error,
            version=self._version,
            limit_bytes=limit_bytes,
        )


def _shape(outbound: Outbound) -> tuple[bytes | None, bytes | None, list[str]]:
    return outbound.key, outbound.value, [name for name, _ in outbound.headers]


def encoder_for(
    settings: Settings, classifier: Classifier, policy: RoutingPolicy
) -> MessageEncoder:
    """Return the encoder for results of a model that are routed by ``policy``."""
    kept = settings.output.probabilities
    return MessageEncoder(
        labels=classifier.labels,
        model=classifier.identity,
        calibration_id=policy.calibration_id,
        top=None if kept == "all" else kept,
    )
