"""Makes the outcomes of records: encoded outputs, or dead letters."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from streamlabel import __version__
from streamlabel.config.kafka import OutputSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import SourceRecord, TextRecord
from streamlabel.consumer.output.dead_letters import bare_dead_letter, dead_letter
from streamlabel.consumer.output.formats import ValueEncoder
from streamlabel.consumer.output.message_encoder import MessageEncoder
from streamlabel.consumer.output.near_duplicates import NearDuplicates
from streamlabel.consumer.output.outcome import Outcome
from streamlabel.consumer.output.schema_encoder import SchemaEncoder, is_plain
from streamlabel.consumer.output.timings import Timings
from streamlabel.consumer.routing.decision import Decision
from streamlabel.consumer.routing.router import RoutingPolicy
from streamlabel.errors import BrokerError, RecordError
from streamlabel.models.core.classifier import Classifier, Prediction

__all__ = ["OutcomeBuilder", "encoder_for"]


class OutcomeBuilder:
    """Makes outcomes.

    Args:
        dead_letter_topic: the topic for records that cannot be classified.
        limit_bytes: largest output of a topic; larger ones become dead letters.
    """

    def __init__(
        self,
        *,
        dead_letter_topic: str,
        limit_bytes: Callable[[str], int],
        version: str = __version__,
    ) -> None:
        self._dead_letter_topic = dead_letter_topic
        self._limit_bytes = limit_bytes
        self._version = version

    @property
    def dead_letter_topic(self) -> str:
        """The topic for records that cannot be classified."""
        return self._dead_letter_topic

    def result(
        self,
        record: TextRecord,
        prediction: Prediction,
        decision: Decision,
        timings: Timings,
        *,
        encoder: ValueEncoder,
        topics: OutputSettings,
        task: str | None = None,
    ) -> Outcome:
        """Return the outcome of a classified text.

        Args:
            record: the text.
            prediction: of the model.
            decision: of the routing.
            timings: of the batch.
            encoder: of its deployment.
            topics: of its task.
            task: name of the task; None: the stream has only one.
        """
        outbounds: tuple[Outbound, ...] = ()
        if decision.route != "review":
            topic = topics.labels_topic
            outbounds = (encoder.label(record, prediction, decision, timings, topic=topic),)
        if decision.route != "label":
            topic = topics.review_topic
            limit = self._limit_bytes(topic)
            review = encoder.review(
                record, prediction, decision, timings, topic=topic, limit_bytes=limit
            )
            outbounds += (review,)
        for outbound in outbounds:
            limit = self._limit_bytes(outbound.topic)
            if outbound.size_bytes > limit:
                message = (
                    f"its output has {outbound.size_bytes} bytes, {outbound.topic} accepts {limit}"
                )
                return self.dead(record.source, RecordError("output_too_large", message), task)
        return Outcome(
            record.source,
            outbounds,
            decision.route,
            decision.reasons[0] if decision.reasons else "",
            decision.label,
            decision.confidence,
            record.event_time_ms,
            task=task,
            stage=decision.stages[-1].stage if decision.stages else None,
        )

    def escalated(
        self,
        record: TextRecord,
        outbound: Outbound,
        *,
        stage: str | None,
        task: str | None,
    ) -> Outcome:
        """Return the outcome of a record that goes on to a stage in another service."""
        limit = self._limit_bytes(outbound.topic)
        if outbound.size_bytes > limit:
            message = f"it has {outbound.size_bytes} bytes, {outbound.topic} accepts {limit}"
            return self.dead(record.source, RecordError("output_too_large", message), task)
        return Outcome(
            record.source,
            (outbound,),
            "escalate",
            event_time_ms=record.event_time_ms,
            task=task,
            stage=stage,
        )

    def dead(self, source: SourceRecord, error: RecordError, task: str | None = None) -> Outcome:
        """Return the outcome of a record that cannot be classified, by one task or by any."""
        topic = self._dead_letter_topic
        outbound = self._dead_letter(source, error, self._limit_bytes(topic), task)
        return Outcome(
            source,
            (outbound,),
            "dead_letter",
            error.reason,
            event_time_ms=source.timestamp_ms,
            message=error.message,
            attempts=error.attempts,
            task=task,
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
        if outbound.topic != self._dead_letter_topic:
            return self.dead(outcome.source, why, outcome.task)
        message = f"{outcome.message}; the full dead letter was refused: {why.message}"
        error = RecordError(outcome.reason, message, outcome.attempts)
        if why.reason == "output_too_large":
            least = self._dead_letter(outcome.source, error, 0, outcome.task)
        else:
            least = bare_dead_letter(
                outcome.source,
                topic=outbound.topic,
                error=error,
                version=self._version,
                task=outcome.task,
            )
        if _shape(least) == _shape(outbound):
            raise BrokerError(
                f"even a dead letter without the record's value is refused: {why.message}. Change"
                f" the settings of {outbound.topic} so that it accepts any record"
            )
        return replace(outcome, outbounds=(least,))

    def _dead_letter(
        self, source: SourceRecord, error: RecordError, limit_bytes: int, task: str | None
    ) -> Outbound:
        return dead_letter(
            source,
            topic=self._dead_letter_topic,
            error=error,
            version=self._version,
            limit_bytes=limit_bytes,
            task=task,
        )


def _shape(outbound: Outbound) -> tuple[bytes | None, bytes | None, list[str]]:
    return outbound.key, outbound.value, [name for name, _ in outbound.headers]


def encoder_for(
    settings: Settings,
    classifier: Classifier,
    policy: RoutingPolicy,
    *,
    task: str | None = None,
    deployment_id: str | None = None,
) -> MessageEncoder:
    """Return the encoder for results of a model that are routed by ``policy``."""
    kept = settings.output.probabilities
    encoder = (
        MessageEncoder if is_plain(settings.output) else partial(SchemaEncoder, settings.output)
    )
    return encoder(
        labels=policy.labels,
        model=classifier.identity,
        calibration_id=policy.calibration_id,
        task=task,
        deployment_id=deployment_id,
        top=None if kept == "all" else kept,
        near_duplicates=NearDuplicates() if settings.output.near_duplicate_keys else None,
    )
