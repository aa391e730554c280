"""A record of the review topic becomes an item, or is refused with a reason. Pure."""

from collections.abc import Sequence
from typing import Any, Final

import orjson
from pydantic import ValidationError

from streamlabel.config.console import ConsoleSettings
from streamlabel.console.store.api import Refused
from streamlabel.console.store.items import Arrival
from streamlabel.console.topics.ordering import due_time, near_key, priority, value_at
from streamlabel.consumer.core.records import SourceRecord
from streamlabel.consumer.output.schemas import ReviewMessage
from streamlabel.consumer.output.verdict import VerdictSource

__all__ = ["SCHEMA", "RefusalError", "decoded", "faults_in", "unknown_labels"]

SCHEMA: Final = "streamlabel.review/v1"
# Labels of a stream with one task, in ``console.labels``.
_ONE_TASK: Final = "default"
# PostgreSQL's indexes hold no longer values; with the task before it and "#2" behind it.
_ID_LIMIT_BYTES: Final = 1_000

# Of a record; ours have eight. Each is a row of the database.
_NEAR_KEYS: Final = 16


class RefusalError(Exception):
    """Why a record cannot become an item: reason and detail."""


def decoded(record: SourceRecord, settings: ConsoleSettings) -> Arrival | Refused:
    """Return the item of a review record, or why it cannot be one."""
    try:
        message = _message(record.value)
        _refuse_unfit(message, settings)
    except RefusalError as refusal:
        reason, detail = refusal.args
        return Refused(record.position, reason, detail)
    return _arrival(record, message, settings)


def _message(value: bytes | None) -> ReviewMessage:
    try:
        found: Any = orjson.loads(value or b"")
    except orjson.JSONDecodeError as error:
        raise RefusalError("not_json", "the value is not JSON") from error
    if not isinstance(found, dict):
        raise RefusalError("schema", "the value is not a JSON object")
    version = found.get("schema")
    if version != SCHEMA:
        named = repr(version)[:64] if isinstance(version, str) else "none"
        raise RefusalError("version", f"schema is {named}, not {SCHEMA}")
    text = found.get("text")
    if not isinstance(text, str) or not text.strip():
        raise RefusalError("no_text", "text: missing or blank")
    try:
        return ReviewMessage.model_validate_json(value or b"")
    except ValidationError as error:
        raise RefusalError("schema", faults_in(error)) from error


def faults_in(error: ValidationError) -> str:
    """Return the fields at fault, without their values."""
    faults = error.errors(include_input=False, include_url=False)[:5]
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in faults)[:500]


def _refuse_unfit(message: ReviewMessage, settings: ConsoleSettings) -> None:
    if "\x00" in message.id or len(message.id.encode()) > _ID_LIMIT_BYTES:
        limit = f"id: has the character NUL, or more than {_ID_LIMIT_BYTES} bytes"
        raise RefusalError("schema", limit)
    if names := unknown_labels(_labels(message), message.task, settings):
        raise RefusalError("unknown_label", f"console.labels has no {names}")


def unknown_labels(
    labels: Sequence[str] | None, task: str | None, settings: ConsoleSettings
) -> str:
    """Return the labels that ``console.labels`` does not list for a task; empty: none."""
    known = settings.labels.get(task or _ONE_TASK)
    unknown = set() if known is None else set(labels or ()).difference(known)
    return ", ".join(sorted(unknown))[:200]


def _labels(message: ReviewMessage) -> tuple[str, ...] | None:
    if message.confidence is None:  # no answer; without a label, every label may be a no
        return None
    if message.labels is not None:
        return tuple(message.labels)
    return None if message.label is None else (message.label,)


def _arrival(record: SourceRecord, message: ReviewMessage, settings: ConsoleSettings) -> Arrival:
    labels = _labels(message)
    due_at = due_time(message.metadata, settings.order.due_path)
    is_audit = message.audit_probability is not None and "audit" in message.reasons
    thread = value_at(message.metadata, settings.thread_path)
    near_keys = (
        _tuple(message.near_duplicate_keys[:_NEAR_KEYS]) if message.near_duplicate_keys else None
    )
    return Arrival(
        review_id=message.id if message.task is None else f"{message.task}/{message.id}",
        record_id=message.id,
        task=message.task,
        text=message.text,
        text_truncated=message.text_truncated,
        model_labels=labels,
        confidence=message.confidence,
        probabilities=message.probabilities,
        raw_probabilities=message.raw_probabilities,
        prediction_set=_tuple(message.prediction_set),
        threshold=message.threshold,
        reasons=tuple(message.reasons),
        purpose="audit" if is_audit else "review",
        # what a result led here was sure to come
        review_probability=message.audit_probability if is_audit else 1.0,
        metadata=message.metadata,
        key=record.key,
        deployment_id=message.model.deployment_id,
        model_digest=message.model.digest,
        calibration_id=message.model.calibration_id,
        threshold_set_id=message.model.threshold_set_id,
        source=VerdictSource(
            topic=message.source.topic,
            partition=message.source.partition,
            offset=message.source.offset,
        ),
        event_time_ms=message.source.timestamp_ms,
        due_at=due_at,
        priority=priority(
            settings.order,
            event_time_ms=message.source.timestamp_ms,
            due_at=due_at,
            labels=labels,
            confidence=message.confidence,
        ),
        near_key=None if near_keys else near_key(message.text),
        near_keys=near_keys,
        thread=thread if isinstance(thread, str) else None if thread is None else str(thread),
    )


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
