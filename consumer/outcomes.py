"""What becomes of a record: which outputs it causes, and what is counted about it."""

from collections.abc import Callable
from typing import Literal

from streamlabel import __version__
from streamlabel.config.kafka import OutputSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.audit import AuditSample
from streamlabel.consumer.calibrated import router_for
from streamlabel.consumer.decision import Decision
from streamlabel.consumer.messages import MessageEncoder, dead_letter
from streamlabel.consumer.ports import Outbound, RecordSink
from streamlabel.consumer.records import SourceRecord, TextRecord
from streamlabel.consumer.routing import Router
from streamlabel.errors import BrokerError, RecordError
from streamlabel.models.base import Classifier, Prediction
from streamlabel.models.calibration_file import CalibrationFile
from streamlabel.models.values import value

__all__ = ["Composer", "Outcome", "Timings", "compose"]


@value
class Timings:
    """When a result was made.

    Attributes:
        processed_at_ms: epoch milliseconds.
        queue_ms: from read to taken by a free worker.
        inference_ms: of its batch.
    """

    processed_at_ms: int
    queue_ms: float
    inference_ms: float


@value
class Outcome:
    """Everything one record causes.

    Attributes:
        outbounds: none for a skipped record, two for a copy to labels and review.
        reason: the first reason; empty for a plain label.
    """

    source: SourceRecord
    outbounds: tuple[Outbound, ...]
    route: Literal["label", "review", "copy", "dead_letter", "skip"]
    reason: str = ""
    label: str | None = None
    confidence: float | None = None
    event_time_ms: int = 0


class Composer:
    """Makes outcomes.

    Args:
        limit_bytes: largest output per topic; larger ones become dead letters.
        audit: which certain texts people see too; None: none of them.
    """

    def __init__(
        self,
        *,
        router: Router,
        encoder: MessageEncoder,
        topics: OutputSettings,
        limit_bytes: Callable[[str], int],
        version: str,
        audit: AuditSample | None = None,
    ) -> None:
        self._audit = audit
        self._router = router
        self._encoder = encoder
        self._topics = topics
        self._limit_bytes = limit_bytes
        self._version = version

    @property
    def dead_letter_topic(self) -> str:
        """Where what cannot be classified goes."""
        return self._topics.dead_letter_topic

    def result(self, record: TextRecord, prediction: Prediction, timings: Timings) -> Outcome:
        """Return the outcome of a classified text."""
        decision = self._router.choose(prediction)
        if self._audit is not None:
            decision = self._audit.applied(decision, record.id)
        outbounds: list[Outbound] = []
        if decision.route != "review":
            outbounds.append(self._label(record, prediction, decision, timings))
        if decision.route != "label":
            outbounds.append(self._review(record, prediction, decision, timings))
        for outbound in outbounds:
            limit = self._limit_bytes(outbound.topic)
            if outbound.size_bytes > limit:
                message = (
                    f"its output has {outbound.size_bytes} bytes, {outbound.topic} takes {limit}"
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

    def dead(self, source: SourceRecord, error: RecordError, *, attempts: int = 1) -> Outcome:
        """Return the outcome of a record that cannot be classified."""
        topic = self._topics.dead_letter_topic
        outbound = self._dead_letter(source, error, attempts, self._limit_bytes(topic))
        return Outcome(
            source, (outbound,), "dead_letter", error.reason, event_time_ms=source.timestamp_ms
        )

    def skipped(self, source: SourceRecord, reason: str) -> Outcome:
        """Return the outcome of a record that the settings say to skip."""
        return Outcome(source, (), "skip", reason, event_time_ms=source.timestamp_ms)

    def refused(self, source: SourceRecord, outbound: Outbound, why: str) -> Outbound:
        """Return what to write instead of an output that the broker refuses.

        Raises:
            BrokerError: it was a dead letter without a value already.
        """
        if outbound.topic != self._topics.dead_letter_topic:
            error = RecordError("output_too_large", f"{outbound.topic} refuses its output: {why}")
            return self._dead_letter(
                source, error, 1, self._limit_bytes(self._topics.dead_letter_topic)
            )
        if outbound.value is None:
            raise BrokerError(
                f"{outbound.topic} refuses even a dead letter without a value ({why}); raise its"
                " max.message.bytes"
            )
        error = RecordError("output_too_large", f"{outbound.topic} refuses its value: {why}")
        return self._dead_letter(source, error, 1, 0)

    def tighten(self, step: float) -> None:
        """Move every threshold by ``step``, in [0, 1), of its way to 1, and say so in outputs."""
        self._router.tighten(step)
        self._encoder.use_thresholds(self._router.threshold_set_id)

    def _dead_letter(
        self, source: SourceRecord, error: RecordError, attempts: int, limit_bytes: int
    ) -> Outbound:
        return dead_letter(
            source,
            topic=self._topics.dead_letter_topic,
            error=error,
            attempts=attempts,
            version=self._version,
            limit_bytes=limit_bytes,
        )

    def _label(
        self, record: TextRecord, prediction: Prediction, decision: Decision, timings: Timings
    ) -> Outbound:
        return self._encoder.label(
            record, prediction, decision, timings, topic=self._topics.labels_topic
        )

    def _review(
        self, record: TextRecord, prediction: Prediction, decision: Decision, timings: Timings
    ) -> Outbound:
        topic = self._topics.review_topic
        return self._encoder.review(
            record, prediction, decision, timings, topic=topic, limit_bytes=self._limit_bytes(topic)
        )


def compose(
    settings: Settings,
    classifier: Classifier,
    sink: RecordSink,
    *,
    calibration: CalibrationFile | None = None,
) -> Composer:
    """Return what turns predictions into outputs.

    Args:
        settings: topics and routing.
        classifier: the model, loaded.
        sink: says what its topics take.
        calibration: as ``read_calibration`` returned it for the same settings.

    Raises:
        ConfigError: the routing does not fit the model's labels, or the calibration the model.
    """
    router = router_for(classifier, settings.routing, calibration)
    share = settings.routing.audit_share
    return Composer(
        router=router,
        encoder=MessageEncoder(
            labels=classifier.labels,
            model=classifier.info,
            calibration_id=router.calibration_id,
            threshold_set_id=router.threshold_set_id,
        ),
        topics=settings.output,
        limit_bytes=sink.limit_bytes,
        version=__version__,
        audit=AuditSample(share) if share else None,
    )
