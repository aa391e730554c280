"""What goes out: labels and reviews, encoded as ``schemas`` and docs/records.md describe them.

No pydantic here: this runs once a record. A test holds every encoded message against the models.
"""

from bisect import bisect_right
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import orjson

from streamlabel.consumer.dead_letters import dead_letter
from streamlabel.consumer.decision import Decision
from streamlabel.consumer.headers import forwarded
from streamlabel.consumer.ports import Outbound
from streamlabel.consumer.records import TextRecord
from streamlabel.models.base import ModelInfo, Prediction
from streamlabel.models.labels import LabelSet

if TYPE_CHECKING:
    from streamlabel.consumer.outcomes import Timings

__all__ = ["MessageEncoder", "dead_letter"]

# What only some back ends know; left out of the message where they do not.
_DOUBTS = (
    "off_label_mass",
    "argmax_is_label",
    "first_token_probability",
    "off_label_token",
    "sum_error",
)
_doubts_of = attrgetter(*_DOUBTS)
_NO_DOUBTS = (None,) * len(_DOUBTS)


class MessageEncoder:
    """Encodes results of one model under one label set.

    Args:
        calibration_id: of the calibration behind the confidences, if there is one.
        threshold_set_id: of the thresholds behind the routes, if they have one.
        task: its name, where one stream has several.
    """

    def __init__(
        self,
        *,
        labels: LabelSet,
        model: ModelInfo,
        calibration_id: str | None = None,
        threshold_set_id: str | None = None,
        task: str | None = None,
    ) -> None:
        self._names = labels.names
        self._has_several = labels.problem_type == "multi_label"
        self._task = {} if task is None else {"task": task}
        self._about = {
            "name": model.name,
            "backend": model.backend,
            "device": model.device,
            "digest": model.digest,
            "prompt_version": model.prompt_version,
            "calibration_id": calibration_id,
        }
        self.use_thresholds(threshold_set_id)

    def use_thresholds(self, threshold_set_id: str | None) -> None:
        """From now on, name these thresholds in every message."""
        about = {**self._about, "threshold_set_id": threshold_set_id}
        self._model = orjson.Fragment(orjson.dumps(about))

    def label(
        self,
        record: TextRecord,
        prediction: Prediction,
        decision: Decision,
        timings: "Timings",
        *,
        topic: str,
    ) -> Outbound:
        """Return the record for the labels topic; the text is not in it."""
        message = self._message(record, prediction, decision, timings)
        return _outbound(record, topic, message)

    def review(
        self,
        record: TextRecord,
        prediction: Prediction,
        decision: Decision,
        timings: "Timings",
        *,
        topic: str,
        limit_bytes: int,
    ) -> Outbound:
        """Return the record for the review topic.

        A text that does not fit ``limit_bytes`` is shortened and flagged, so that it still gets to
        people. The result is too large only if no character of it would fit.
        """
        message = self._message(record, prediction, decision, timings)
        message["schema"] = "streamlabel.review/v1"
        message["threshold"] = decision.threshold
        if decision.prediction_set is not None:
            message["prediction_set"] = decision.prediction_set
        message["text"] = record.text
        outbound = _outbound(record, topic, message)
        excess_bytes = outbound.size_bytes - limit_bytes
        if excess_bytes <= 0:
            return outbound
        message["text_truncated"] = True
        excess_bytes += len(b',"text_truncated":true')
        room_bytes = len(orjson.dumps(record.text)) - excess_bytes
        message["text"] = _shortened(record.text, room_bytes)
        return _outbound(record, topic, message) if message["text"] else outbound

    def _message(
        self, record: TextRecord, prediction: Prediction, decision: Decision, timings: "Timings"
    ) -> dict[str, Any]:
        source = record.source
        topic, partition, offset = source.position
        probabilities = decision.probabilities
        message: dict[str, Any] = {
            "schema": "streamlabel.label/v1",
            "id": record.id,
            **self._task,
            "label": decision.label,
            "confidence": decision.confidence,
            "probabilities": self._by_label(probabilities),
            "margin": decision.margin,
            "route": decision.route,
            "reasons": decision.reasons,
            "truncated": prediction.truncated,
            "model": self._model,
            "source": {
                "topic": topic,
                "partition": partition,
                "offset": offset,
                "timestamp_ms": source.timestamp_ms,
            },
            "metadata": record.metadata,
            "processed_at": _rfc3339(timings.processed_at_ms),
            "timings_ms": {
                "queue": round(timings.queue_ms, 3),
                "inference": round(timings.inference_ms, 3),
            },
        }
        if self._has_several:
            message["labels"] = decision.labels
        if probabilities != prediction.probabilities:
            message["raw_probabilities"] = self._by_label(prediction.probabilities)
        if decision.audit_probability is not None:
            message["audit_probability"] = decision.audit_probability
        doubts = _doubts_of(prediction)
        if doubts != _NO_DOUBTS:
            known = zip(_DOUBTS, doubts, strict=True)
            message.update((name, doubt) for name, doubt in known if doubt is not None)
        if record.metadata_dropped:
            message["metadata_dropped"] = True
        return message

    def _by_label(self, probabilities: tuple[float, ...] | None) -> dict[str, float] | None:
        if probabilities is None:
            return None
        return dict(zip(self._names, probabilities, strict=True))


def _outbound(record: TextRecord, topic: str, message: dict[str, Any]) -> Outbound:
    source = record.source
    headers = forwarded(source.headers)
    return Outbound(topic, source.key, orjson.dumps(message), headers, source.position)


def _shortened(text: str, room_bytes: int) -> str:
    """Return the longest beginning of ``text`` whose JSON, quotes included, fits."""
    # Every character takes a byte at least, so no more of them than bytes can fit.
    lengths = range(min(len(text), max(room_bytes, 0)) + 1)
    fitting = bisect_right(lengths, room_bytes, key=lambda n: len(orjson.dumps(text[:n])))
    return text[: max(fitting - 1, 0)]


def _rfc3339(epoch_ms: int) -> str:
    second, ms = divmod(epoch_ms, 1000)
    return f"{_second(second)}.{ms:03d}Z"


@lru_cache(maxsize=4)  # the records of one second share it
def _second(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")
