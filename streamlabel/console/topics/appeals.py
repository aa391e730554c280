"""A record of the appeals topic becomes an appeal, or is refused with a reason. Pure."""

from dataclasses import replace

import orjson
from pydantic import ValidationError

from streamlabel.config.console import ConsoleSettings
from streamlabel.console.store.api import Refused
from streamlabel.console.store.appealing import APPEALED_FIRST
from streamlabel.console.store.items import Arrival
from streamlabel.console.topics.decoding import RefusalError, faults_in, unknown_labels
from streamlabel.console.topics.ordering import near_key, priority
from streamlabel.consumer.core.records import SourceRecord
from streamlabel.consumer.output.appeal import SCHEMA, AppealMessage
from streamlabel.consumer.output.verdict import VerdictSource

__all__ = ["appeal_of"]


def appeal_of(
    record: SourceRecord, settings: ConsoleSettings
) -> tuple[AppealMessage, Arrival | None] | Refused:
    """Return an appeal, with the item that it makes if its record was never in review."""
    try:
        appeal = _message(record.value or b"", settings)
    except RefusalError as refusal:
        reason, detail = refusal.args
        return Refused(record.position, reason, detail)
    return appeal, None if appeal.text is None else _alone(record, appeal, appeal.text, settings)


def _message(value: bytes, settings: ConsoleSettings) -> AppealMessage:
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise RefusalError("not_json", "the value is not JSON") from error
    version = found.get("schema") if isinstance(found, dict) else None
    if version != SCHEMA:
        named = repr(version)[:64] if isinstance(version, str) else "none"
        raise RefusalError("version", f"schema is {named}, not {SCHEMA}")
    try:
        appeal = AppealMessage.model_validate_json(value)
    except ValidationError as error:
        raise RefusalError("schema", faults_in(error)) from error
    if appeal.text is not None and not appeal.text.strip():
        raise RefusalError("no_text", "text: blank")
    if names := unknown_labels(appeal.labels, appeal.task, settings):
        raise RefusalError("unknown_label", f"console.labels has no {names}")
    return appeal


def _alone(
    record: SourceRecord, appeal: AppealMessage, text: str, settings: ConsoleSettings
) -> Arrival:
    labels = None if appeal.labels is None else tuple(appeal.labels)
    position = record.position
    item = Arrival(
        review_id=appeal.review_id,
        record_id=appeal.id,
        task=appeal.task,
        text=text,
        model_labels=labels,
        key=record.key,
        source=VerdictSource(
            topic=position.topic, partition=position.partition, offset=position.offset
        ),
        event_time_ms=record.timestamp_ms,
        near_key=near_key(text),
    )
    urgency = priority(
        settings.order,
        event_time_ms=record.timestamp_ms,
        due_at=None,
        labels=labels,
        confidence=None,
    )
    return replace(item, priority=urgency + APPEALED_FIRST)
