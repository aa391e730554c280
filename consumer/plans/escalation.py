"""A record on its way to a stage in another service: what it takes along, and what is read again.

The value, the key and the headers are those of the record itself. One header more says what the
stages said until now, from which record of the input it came, and until when a result is wanted.
Headers of this name that a record brings along count for nothing: only the last one is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from streamlabel.config.settings import Settings
from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import Position, SourceRecord, TextRecord
from streamlabel.consumer.output.formats import ValueDecoder
from streamlabel.consumer.output.headers import OURS
from streamlabel.consumer.plans.job import Classified, Escalated, Result
from streamlabel.errors import DecodeError
from streamlabel.models.core.classifier import ModelIdentity
from streamlabel.models.core.values import value

__all__ = [
    "HEADER",
    "IDENTITY",
    "EscalatedText",
    "decoder_of",
    "due_ms_of",
    "escalation",
]

HEADER = OURS + "cascade"
_SCHEMA = "streamlabel.escalation/v1"
_SAID = frozenset(
    (
        "calibration_id", "threshold_set_id", "threshold_change", "label", "labels", "confidence",
        "margin", "threshold", "reasons", "probabilities", "truncated",
    )
)  # fmt: skip
IDENTITY = ("name", "backend", "device", "dtype", "digest", "prompt_version")


@value
class EscalatedText(TextRecord):
    """A text that earlier stages were not sure of. Its id is that of the record on the input.

    Attributes:
        origin: the record on the input; key and value are those of the record that was read.
        due_ms: when the deadline of the next stage ends, epoch milliseconds; None: it has none.
        said: of the stages, as they were written.
    """

    origin: SourceRecord | None = None
    due_ms: int | None = None
    said: tuple[Any, ...] = ()


def due_ms_of(record: TextRecord) -> int | None:
    """Return until when a result is wanted, epoch milliseconds; None: no limit was set before."""
    return record.due_ms if isinstance(record, EscalatedText) else None


def escalation(record: TextRecord, result: Escalated, *, now_ms: int) -> Outbound:
    """Return the record for the topic of the next stage."""
    source = record.source
    origin = source
    if isinstance(record, EscalatedText) and record.origin is not None:
        origin = record.origin
    deadline_s = result.deadline_s
    told = {
        "schema": _SCHEMA,
        "id": record.id,
        "event_time_ms": record.event_time_ms,
        "source": [*origin.position, origin.timestamp_ms],
        "language": record.language,
        "due_ms": None if deadline_s is None else now_ms + int(deadline_s * 1000),
        "stages": [_told(each) for each in result.answers],
    }
    headers = tuple(each for each in source.headers if each[0].lower() != HEADER)
    return Outbound(
        result.topic,
        source.key,
        source.value,
        (*headers, (HEADER, orjson.dumps(told))),
        source.position,
    )


def _told(result: Result) -> dict[str, Any]:
    deployment = result.deployment
    model = {name: getattr(deployment.identity, name) for name in IDENTITY}
    told: dict[str, Any] = {"stage": deployment.stage, "model": model}
    if not isinstance(result, Classified):
        return told | {"error": result.error.reason}
    decision = result.decision
    names = deployment.policy.labels.names
    by_name = decision.probabilities and dict(zip(names, decision.probabilities, strict=True))
    return told | {
        "calibration_id": deployment.policy.calibration_id,
        "threshold_set_id": decision.threshold_set_id,
        "threshold_change": decision.threshold_change,
        "label": decision.label,
        "labels": decision.labels,
        "unsure_labels": decision.unsure_labels,
        "confidence": decision.confidence,
        "margin": decision.margin,
        "threshold": decision.threshold,
        "reasons": decision.reasons,
        "probabilities": by_name,
        "truncated": result.prediction.truncated,
    }


def decoder_of(settings: Settings, decoder: ValueDecoder) -> ValueDecoder:
    """Return the decoder of the service: one that reads the header, if it runs a later part."""
    return _EscalationDecoder(decoder) if settings.reads_escalations else decoder


@dataclass(frozen=True, slots=True)
class _EscalationDecoder:
    """Decodes the value as on the input, and the header. Implements ``ValueDecoder``."""

    inner: ValueDecoder

    async def prefetch(self, records: Sequence[SourceRecord]) -> None:
        """Fetch what the format needs."""
        await self.inner.prefetch(records)

    def decode(self, record: SourceRecord) -> TextRecord:
        """Return the text with what the earlier stages said.

        Raises:
            DecodeError: as the format does, or ``bad_escalation``.
        """
        text = self.inner.decode(record)
        written = next((v for name, v in reversed(record.headers) if name == HEADER), None)
        try:
            return _read(orjson.loads(written or b""), text)
        except (ValueError, TypeError, KeyError) as error:
            message = (
                f"the header {HEADER} is missing, or not of this version: this topic takes only"
                " what an earlier stage of the cascade writes"
            )
            raise DecodeError("bad_escalation", message) from error


def _read(told: Any, text: TextRecord) -> EscalatedText:  # noqa: ANN401 any JSON
    if told["schema"] != _SCHEMA:
        raise ValueError("another version")
    topic, partition, offset, timestamp_ms = told["source"]
    position = Position(str(topic), int(partition), int(offset))
    return EscalatedText(
        text.source,
        str(told["id"]),
        text.text,
        int(told["event_time_ms"]),
        text.metadata,
        text.metadata_dropped,
        None if told.get("language") is None else str(told["language"]),
        replace(text.source, position=position, timestamp_ms=int(timestamp_ms)),
        None if told["due_ms"] is None else int(told["due_ms"]),
        tuple(each for each in told["stages"] if _is_complete(each)),
    )


def _is_complete(said: Any) -> bool:  # noqa: ANN401 any JSON
    """Return True; raise what ``decode`` catches if a part is missing."""
    names = {"stage", "model"} | ({"error"} if "error" in said else _SAID)
    if missing := names - set(said):
        raise KeyError(*missing)
    ModelIdentity(**{name: said["model"][name] for name in IDENTITY})
    return True
