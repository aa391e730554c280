"""Encodes labels and reviews as ``schemas`` and docs/records.md describe them.

Does not use pydantic, because it runs for every record. A test validates every encoded message.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from heapq import nlargest
from operator import attrgetter
from typing import Any

import orjson

from streamlabel.consumer.core.ports import Outbound, bytes_of
from streamlabel.consumer.core.records import Headers, TextRecord
from streamlabel.consumer.output.dead_letters import dead_letter
from streamlabel.consumer.output.headers import TASK, forwarded
from streamlabel.consumer.output.near_duplicates import NearDuplicates
from streamlabel.consumer.output.timings import Timings, WrittenTimings, write_timings
from streamlabel.consumer.routing.decision import Decision, StageAnswer
from streamlabel.models.core.classifier import ModelIdentity, Prediction
from streamlabel.models.core.labels import LabelSet

__all__ = ["MessageEncoder", "dead_letter"]

# Only some back ends provide these; otherwise they are left out of the message.
_DOUBTS = (
    "off_label_mass", "argmax_is_label", "first_token_probability", "off_label_token", "sum_error",
    "lenient_reading", "after_reasoning", "reasoning_tokens", "reasoning_cut", "unknown_share",
)  # fmt: skip
_doubts_of = attrgetter(*_DOUBTS)
_NO_DOUBTS = (None,) * len(_DOUBTS)


class MessageEncoder:
    """Encodes results of one model under one label set, as JSON. Implements ``ValueEncoder``.

    Args:
        calibration_id: of the calibration behind the confidences, if there is one.
        task: its name, if the stream has several.
        deployment_id: of all models of the service.
        top: the number of most probable labels to write probabilities of; None: all.
        near_duplicates: computes the keys of texts in review; None: they have none.
    """

    def __init__(
        self,
        *,
        labels: LabelSet,
        model: ModelIdentity,
        calibration_id: str | None = None,
        task: str | None = None,
        deployment_id: str | None = None,
        top: int | None = None,
        near_duplicates: NearDuplicates | None = None,
    ) -> None:
        self._near_duplicates = near_duplicates
        self._top = None if top is None or top >= len(labels) else top
        self._names = labels.names
        self._has_several = labels.problem_type == "multi_label"
        self._task = task
        self._headers: Headers = () if task is None else ((TASK, task.encode()),)
        self._usual_headers = forwarded(()) + self._headers  # of a record without headers
        self._usual_bytes = bytes_of(self._usual_headers)
        self._about = {
            "name": model.name,
            "backend": model.backend,
            "device": model.device,
            "digest": model.digest,
            "prompt_version": model.prompt_version,
            "calibration_id": calibration_id,
            "deployment_id": deployment_id,
        }
        self._times = WrittenTimings(None, "", orjson.Fragment(b"{}"))
        # by thresholds, as written
        self._models: dict[tuple[str | None, str | None], orjson.Fragment] = {}

    async def prefetch(self) -> None:
        """Fetch nothing: JSON needs no schema."""

    def label(
        self,
        record: TextRecord,
        prediction: Prediction,
        decision: Decision,
        timings: Timings,
        *,
        topic: str,
    ) -> Outbound:
        """Return the record for the labels topic; the text is not in it."""
        message = self._message(record, prediction, decision, timings)
        return self._outbound(record, topic, message)

    def review(
        self,
        record: TextRecord,
        prediction: Prediction,
        decision: Decision,
        timings: Timings,
        *,
        topic: str,
        limit_bytes: int,
    ) -> Outbound:
        """Return the record for the review topic.

        A text that does not fit into ``limit_bytes`` is shortened and flagged, so that it can still
        be reviewed. The result is too large only if not a single character would fit.
        """
        message = self._message(record, prediction, decision, timings)
        message["schema"] = "streamlabel.review/v1"
        message["threshold"] = decision.threshold
        if decision.prediction_set is not None:
            message["prediction_set"] = decision.prediction_set
        if self._near_duplicates is not None:
            message["near_duplicate_keys"] = self._near_duplicates.keys(record.text)
        message["text"] = record.text
        outbound = self._outbound(record, topic, message)
        excess_bytes = outbound.size_bytes - limit_bytes
        if excess_bytes <= 0:
            return outbound
        message["text_truncated"] = True
        excess_bytes += len(b',"text_truncated":true')
        room_bytes = self._text_bytes(record.text) - excess_bytes
        message["text"] = _shortened(record.text, room_bytes, self._text_bytes)
        return self._outbound(record, topic, message) if message["text"] else outbound

    def _message(
        self, record: TextRecord, prediction: Prediction, decision: Decision, timings: Timings
    ) -> dict[str, Any]:
        source = record.source
        topic, partition, offset = source.position
        limits = decision.threshold_set_id, decision.threshold_change
        probabilities = decision.probabilities
        kept = None if self._top is None else self._kept(probabilities or prediction.probabilities)
        # records of a batch that were read together share their timings
        times = self._times if timings is self._times.of else write_timings(timings)
        self._times = times
        message: dict[str, Any] = {
            "schema": "streamlabel.label/v1",
            "id": record.id,
            "label": decision.label,
            "confidence": decision.confidence,
            "probabilities": (
                dict(zip(self._names, probabilities, strict=True))
                if kept is None and probabilities is not None
                else self._by_label(probabilities, kept)
            ),
            "margin": decision.margin,
            "route": decision.route,
            "reasons": decision.reasons,
            "truncated": prediction.truncated,
            "model": self._models.get(limits) or self._model(*limits),
            "source": {
                "topic": topic,
                "partition": partition,
                "offset": offset,
                "timestamp_ms": source.timestamp_ms,
            },
            "metadata": None if record.metadata is None else orjson.Fragment(record.metadata),
            "processed_at": times.processed_at,
            "timings_ms": times.timings_ms,
        }
        if self._task is not None:  # in its place, and without a cost for streams with one task
            first = {"schema": message["schema"], "id": record.id, "task": self._task}
            message = first | message
        if self._has_several:
            message["labels"] = decision.labels
        if probabilities != prediction.probabilities:
            message["raw_probabilities"] = self._by_label(prediction.probabilities, kept)
        if kept is not None:
            message["probabilities_left_out"] = len(self._names) - len(kept)
        if decision.audit_probability is not None:
            message["audit_probability"] = decision.audit_probability
        doubts = _doubts_of(prediction)
        if doubts != _NO_DOUBTS:
            message |= _doubts(doubts)
        if (
            timings.cached
            or record.metadata_dropped
            or record.language is not None
            or decision.unsure_labels
            or decision.stages
        ):
            message |= _rare(record, decision, timings)
        return message

    def _text_bytes(self, text: str) -> int:
        """Return how many bytes a text takes in an output."""
        return len(orjson.dumps(text))

    def _outbound(self, record: TextRecord, topic: str, message: dict[str, Any]) -> Outbound:
        source = record.source
        value = orjson.dumps(message)
        if not source.headers:
            usual, size_bytes = self._usual_headers, self._usual_bytes
            return Outbound(topic, source.key, value, usual, source.position, size_bytes)
        headers = forwarded(source.headers) + self._headers
        return Outbound(topic, source.key, value, headers, source.position)

    def _model(self, set_id: str | None, change: str | None) -> orjson.Fragment:
        about = {**self._about, "threshold_set_id": set_id}
        if change is not None:
            about["threshold_change"] = change
        written = self._models[set_id, change] = orjson.Fragment(orjson.dumps(about))
        return written

    def _kept(self, probabilities: tuple[float, ...] | None) -> list[int] | None:
        """Return which labels are written, most probable first; None: all."""
        if self._top is None or probabilities is None:
            return None
        return nlargest(self._top, range(len(probabilities)), key=probabilities.__getitem__)

    def _by_label(
        self, probabilities: tuple[float, ...] | None, kept: list[int] | None
    ) -> dict[str, float] | None:
        if probabilities is None:
            return None
        if kept is not None:
            return {self._names[label]: probabilities[label] for label in kept}
        return dict(zip(self._names, probabilities, strict=True))


def _doubts(doubts: Sequence[Any]) -> dict[str, Any]:
    return {name: each for name, each in zip(_DOUBTS, doubts, strict=True) if each is not None}


def _rare(record: TextRecord, decision: Decision, timings: Timings) -> dict[str, Any]:
    """Return what few records have."""
    known = {
        "cached": timings.cached,
        "metadata_dropped": record.metadata_dropped,
        "language": record.language,
        "unsure_labels": decision.unsure_labels,
    }
    written = {name: each for name, each in known.items() if each}
    return written | _stages(decision.stages) if decision.stages else written


def _stages(answers: Sequence[StageAnswer]) -> dict[str, Any]:
    names = ("stage", "model", "label", "confidence", "reasons")
    written = [{name: getattr(answer, name) for name in names} for answer in answers]
    return {"stage": answers[-1].stage, "stages": written}


def _shortened(text: str, room_bytes: int, size: Callable[[str], int]) -> str:
    """Return the longest beginning of ``text`` that fits as it is written."""
    # Every character takes a byte at least, so no more of them than bytes can fit.
    lengths = range(min(len(text), max(room_bytes, 0)) + 1)
    fitting = bisect_right(lengths, room_bytes, key=lambda n: size(text[:n]))
    return text[: max(fitting - 1, 0)]
