"""Decodes values of formats with schemas, given the schemas. Pure."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from streamlabel.config.kafka import InputSettings
from streamlabel.config.registry import SCHEMA_FORMATS
from streamlabel.consumer.core.records import SourceRecord, TextRecord
from streamlabel.consumer.decode.avro import AvroSchema
from streamlabel.consumer.decode.charsets import inner_json
from streamlabel.consumer.decode.compression import by_header
from streamlabel.consumer.decode.debezium import Change, DebeziumFields
from streamlabel.consumer.decode.decoder import refuse_without_value, text_record
from streamlabel.consumer.decode.framing import (
    FRAME_BYTES,
    Frame,
    begins_with_frame,
    frame_reader,
    schema_name,
)
from streamlabel.consumer.decode.json_fields import parse_json
from streamlabel.consumer.decode.message_fields import json_fields
from streamlabel.consumer.decode.protobuf import ProtobufSchema, field_of, plain
from streamlabel.consumer.decode.tree_fields import TreeFields
from streamlabel.errors import DecodeError

__all__ = ["JSON", "ONLY", "Schema", "SchemaDecoder", "UnknownSchema"]

# The key of the schema of records without framing.
ONLY: Final = b""


class JsonSchema(NamedTuple):
    """A schema of JSON. Values are not validated against it: only the text matters."""


class UnknownSchema(NamedTuple):
    """Why there is no schema; every record that names it is a dead letter."""

    why: str


Schema = AvroSchema | ProtobufSchema | JsonSchema | UnknownSchema
JSON: Final = JsonSchema()
_NO_ROW: Final = "the record has no value (a tombstone)"


class SchemaDecoder:
    """Decodes records whose schemas are known.

    Args:
        settings: of the input; the format is one of ``SCHEMA_FORMATS``.
        schemas: by the key of a record; ``ONLY`` without framing.
    """

    def __init__(self, settings: InputSettings, schemas: Mapping[bytes, Schema]) -> None:
        if settings.format not in SCHEMA_FORMATS:
            raise AssertionError("a format without schemas. This is a bug.")
        self._schemas = schemas
        self._decompress = (
            by_header(settings.max_value_bytes) if settings.content_encoding == "header" else None
        )
        self._frame = (
            None
            if settings.framing == "none"
            else frame_reader(settings.framing, max_bytes=settings.max_value_bytes)
        )
        self._is_in_front = settings.framing == "confluent" and self._decompress is None
        self._is_double = settings.double_encoded
        self._json = json_fields(settings)
        self._tree = TreeFields(settings)
        self._message = TreeFields(settings, step=field_of, plain=plain)
        self._changes = DebeziumFields(settings) if settings.format == "debezium" else None

    def key(self, record: SourceRecord) -> bytes | None:
        """Return the key of the schema that a record needs; None if it cannot be decoded anyway."""
        value = record.value
        if value is None:
            return None
        if self._is_in_front and begins_with_frame(value):  # the usual case, faster
            return value[:FRAME_BYTES]
        try:
            return self._framed(record, value).key
        except DecodeError:
            return None

    def decode(self, record: SourceRecord) -> TextRecord:
        """Return the text with its id, metadata and event time.

        Raises:
            DecodeError: with a reason of ``DeadLetterReason``; ``no_row`` is not an error.
        """
        if self._changes is not None and record.value is None and record.undecodable is None:
            raise DecodeError("no_row", _NO_ROW)
        frame = self._framed(record, refuse_without_value(record))
        schema = self._known(frame)
        if self._changes is not None:
            change = self._change(self._changes, schema, frame)
            return text_record(record, change.found, time_ms=change.time_ms)
        if isinstance(schema, AvroSchema):
            found = self._tree.read(schema.decode(frame.payload))
        elif isinstance(schema, ProtobufSchema):
            found = self._message.read(schema.decode(frame.payload, frame.indexes))
        else:
            value = inner_json(frame.payload) if self._is_double else frame.payload
            found = self._json.read(parse_json(value), value)
        return text_record(record, found)

    def document(self, record: SourceRecord) -> Any:  # noqa: ANN401 any document
        """Return the whole value: an object of Avro, a message of Protobuf, or the bytes of JSON.

        Raises:
            DecodeError: with a reason of ``DeadLetterReason``.
        """
        frame = self._framed(record, refuse_without_value(record))
        schema = self._known(frame)
        if isinstance(schema, AvroSchema):
            return schema.decode(frame.payload)
        if isinstance(schema, ProtobufSchema):
            return schema.decode(frame.payload, frame.indexes)
        return frame.payload

    def _known(self, frame: Frame) -> AvroSchema | ProtobufSchema | JsonSchema:
        schema = self._schemas[frame.key]
        if isinstance(schema, UnknownSchema):
            raise DecodeError("unknown_schema", f"schema {schema_name(frame.key)}: {schema.why}")
        return schema

    def _framed(self, record: SourceRecord, value: bytes) -> Frame:
        if self._decompress is not None:
            value = self._decompress(value, record.headers)
        if self._frame is None:
            return Frame(ONLY, value, b"")
        return self._frame(value, record.headers)

    def _change(self, changes: DebeziumFields, schema: Schema, frame: Frame) -> Change:
        if isinstance(schema, AvroSchema):
            return changes.read_tree(schema.decode(frame.payload))
        value = inner_json(frame.payload) if self._is_double else frame.payload
        return changes.read_json(parse_json(value), value)
