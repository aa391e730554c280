"""Decodes records into texts, or raises why a record has none. Pure.

The rules are in docs/records.md. Error messages name fields and positions, never content.
"""

from collections.abc import Sequence

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.core.records import SourceRecord, TextRecord
from streamlabel.consumer.decode.cloudevents import read_event
from streamlabel.consumer.decode.framing import begins_with_frame, describe_frame, without_frame
from streamlabel.consumer.decode.json_fields import MISSING, Found, JsonFields, parse_json
from streamlabel.consumer.decode.message_fields import json_fields
from streamlabel.consumer.decode.visible import VISIBLE
from streamlabel.errors import DecodeError

__all__ = ["ID_LIMIT_CHARS", "Decoder", "refuse_without_value", "text_record"]

# An id is copied to every output and used in queries; a longer one is probably content.
ID_LIMIT_CHARS = 256


class Decoder:
    """Decodes the records of one input, whose format the settings name.

    Implements ``ValueDecoder``.
    """

    def __init__(self, settings: InputSettings) -> None:
        text, metadata = settings.text_path, settings.metadata_path
        self._fields = json_fields(settings)
        self._event_fields = JsonFields(f"data.{text}", None, metadata and f"data.{metadata}")
        formats = {
            "json": self._json,
            "text": self._plain,
            "cloudevents": self._cloudevent,
        }
        self._decode_value = formats[settings.format]
        self._is_framed = settings.framing == "confluent"

    async def prefetch(self, records: Sequence[SourceRecord]) -> None:
        """Fetch nothing: these formats need nothing but the value."""

    def decode(self, record: SourceRecord) -> TextRecord:
        """Return the text with its id, metadata and event time.

        Raises:
            DecodeError: with a reason of ``DeadLetterReason``. ``empty_text`` may also be skipped,
                see ``InputSettings.empty_text``; everything else becomes a dead letter.
        """
        value = record.value
        if value is None:
            value = refuse_without_value(record)
        if self._is_framed:
            return self._decode_value(record, without_frame(value))
        try:
            return self._decode_value(record, value)
        except DecodeError as error:
            if not begins_with_frame(value):
                raise
            reason, message = error.reason, f"{error}; {describe_frame(value)}"
        # Raised outside the handler: the caught error would add nothing to this one.
        raise DecodeError(reason, message)

    def _json(self, record: SourceRecord, value: bytes) -> TextRecord:
        return text_record(record, self._fields.read(parse_json(value), value))

    def _plain(self, record: SourceRecord, value: bytes) -> TextRecord:
        return text_record(record, Found(_decode_utf8(value), MISSING, None, False))

    def _cloudevent(self, record: SourceRecord, value: bytes) -> TextRecord:
        event = read_event(record.headers, value)
        if event.kind == "document":
            found = self._event_fields.read(event.data, value)
        elif event.kind == "json":
            found = self._fields.read(parse_json(event.data), event.data)
        else:
            text = _decode_utf8(event.data) if event.kind == "text" else event.data
            found = Found(text, MISSING, None, False)
        return text_record(record, found, identity=event.id, time_ms=event.time_ms)


def refuse_without_value(record: SourceRecord) -> bytes:
    """Return the value of a record that has one.

    Raises:
        DecodeError: it has none, or could not be read at all.
    """
    if record.undecodable is not None:
        message = f"the client library cannot read it: {record.undecodable[:200]}"
        raise DecodeError("undecodable_record", message)
    if record.value is None:
        raise DecodeError("empty_text", "the record has no value (a tombstone)")
    return record.value


def text_record(
    record: SourceRecord, found: Found, *, identity: object = MISSING, time_ms: int | None = None
) -> TextRecord:
    """Build the record from the fields found; ``identity`` and ``time_ms`` are a CloudEvent's."""
    text = found.text
    if text is None or VISIBLE.search(text) is None:
        raise DecodeError("empty_text", "the text is null, empty or blank")
    if identity is MISSING:
        identity = found.id
    if type(identity) is int:
        identity = str(identity)
    if type(identity) is not str or len(identity) > ID_LIMIT_CHARS or not identity.strip():
        identity = str(record.position)
    event_time_ms = record.timestamp_ms if time_ms is None else time_ms
    return TextRecord(record, identity, text, event_time_ms, found.metadata, found.metadata_dropped)


def _decode_utf8(value: bytes) -> str:
    """Return the text; a byte order mark before it is not part of it."""
    try:
        return value.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        position = error.start
    # Raised outside the handler, because the caught error contains the whole value.
    raise DecodeError("bad_encoding", f"not UTF-8, first at byte {position}")
