"""From what Kafka has to what the model wants: a record becomes a text, or says why not. Pure.

The rules are in docs/records.md. Messages of errors name fields and positions, never content.
"""

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.cloudevents import read_event
from streamlabel.consumer.json_fields import MISSING, Found, JsonFields, parse_json
from streamlabel.consumer.records import SourceRecord, TextRecord
from streamlabel.consumer.visible import is_visible
from streamlabel.errors import DecodeError

__all__ = ["ID_LIMIT_CHARS", "Decoder"]

# An id goes into every output and into people's queries; a longer one is content in disguise.
ID_LIMIT_CHARS = 256


class Decoder:
    """Decodes the records of one input, whose format the settings name."""

    def __init__(self, settings: InputSettings) -> None:
        text, metadata = settings.text_path, settings.metadata_path
        self._fields = JsonFields(text, settings.id_path, metadata)
        self._event_fields = JsonFields(f"data.{text}", None, metadata and f"data.{metadata}")
        formats = {
            "json": self._json,
            "text": self._plain,
            "cloudevents": self._cloudevent,
        }
        self._decode_value = formats[settings.format]

    def decode(self, record: SourceRecord) -> TextRecord:
        """Return the text with what identifies it.

        Raises:
            DecodeError: with a reason of ``DeadLetterReason``. ``empty_text`` may also be skipped,
                see ``InputSettings.empty_text``; everything else becomes a dead letter.
        """
        if record.undecodable is not None:
            message = f"the client library cannot read it: {record.undecodable[:200]}"
            raise DecodeError("undecodable_record", message)
        if record.value is None:
            raise DecodeError("empty_text", "the record has no value (a tombstone)")
        return self._decode_value(record, record.value)

    def _json(self, record: SourceRecord, value: bytes) -> TextRecord:
        return _text_record(record, self._fields.read(parse_json(value), value))

    def _plain(self, record: SourceRecord, value: bytes) -> TextRecord:
        return _text_record(record, Found(_decode_utf8(value), MISSING, None, False))

    def _cloudevent(self, record: SourceRecord, value: bytes) -> TextRecord:
        event = read_event(record.headers, value)
        if event.kind == "document":
            found = self._event_fields.read(event.data, value)
        elif event.kind == "json":
            found = self._fields.read(parse_json(event.data), event.data)
        else:
            text = _decode_utf8(event.data) if event.kind == "text" else event.data
            found = Found(text, MISSING, None, False)
        return _text_record(record, found, identity=event.id, time_ms=event.time_ms)


def _text_record(
    record: SourceRecord, found: Found, *, identity: object = MISSING, time_ms: int | None = None
) -> TextRecord:
    """Put together what was found; ``identity`` and ``time_ms`` are those of a CloudEvent."""
    text = found.text
    if text is None or not is_visible(text):
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
    # Raised out here, because the caught error carries the whole value.
    raise DecodeError("bad_encoding", f"not UTF-8, first at byte {position}")
