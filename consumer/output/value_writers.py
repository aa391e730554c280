"""Writes a result, a JSON object, as Avro, Protobuf or JSON behind a schema id. Pure."""

from collections.abc import Callable
from io import BytesIO
from typing import Any, Final, Literal, NamedTuple

import orjson

from streamlabel.consumer.output.published_schemas import (
    PublishedName,
    avro_schema,
    json_schema,
    proto_base64,
    proto_file,
)

__all__ = ["OutputFormat", "ValueWriter", "value_writer"]

OutputFormat = Literal["avro", "protobuf", "json_schema"]

# The first message of a Protobuf schema.
_FIRST_MESSAGE: Final = b"\x00"


class ValueWriter(NamedTuple):
    """How one kind of output is written.

    Attributes:
        kind: of the schema, as registries call it.
        schema: as registries take it.
        content_type: of the values.
        write: returns the value without its schema id, given the message as JSON and its metadata.
    """

    kind: Literal["AVRO", "PROTOBUF", "JSON"]
    schema: str
    content_type: bytes
    write: Callable[[bytes, bytes | None], bytes]


def value_writer(output_format: OutputFormat, name: PublishedName) -> ValueWriter:
    """Return how an output is written in a format; imports the library that the format needs."""
    if output_format == "avro":
        return _avro(name)
    if output_format == "protobuf":
        return _protobuf(name)
    return ValueWriter("JSON", json_schema(name), b"application/json", _json)


def _json(message: bytes, _metadata: bytes | None) -> bytes:
    return message


def _plain(message: bytes, metadata: bytes | None) -> dict[str, Any]:
    """Return the message with its metadata as a text, which no schema language could describe."""
    plain: dict[str, Any] = orjson.loads(message)
    if "metadata" in plain:  # a verdict has none
        plain["metadata"] = None if metadata is None else metadata.decode()
    return plain


def _avro(name: PublishedName) -> ValueWriter:
    import fastavro  # noqa: PLC0415 with an extra

    schema = avro_schema(name)
    parsed = fastavro.parse_schema(schema)

    def write(message: bytes, metadata: bytes | None) -> bytes:
        stream = BytesIO()
        fastavro.schemaless_writer(stream, parsed, _plain(message, metadata))
        return stream.getvalue()

    return ValueWriter("AVRO", orjson.dumps(schema).decode(), b"avro/binary", write)


def _protobuf(name: PublishedName) -> ValueWriter:
    from google.protobuf import descriptor_pool, message_factory  # noqa: PLC0415 with an extra

    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(proto_file(name))
    found = pool.FindMessageTypeByName(f"streamlabel.v1.{name.capitalize()}")
    make = message_factory.GetMessageClass(found)

    def write(message: bytes, metadata: bytes | None) -> bytes:
        value: bytes = make(**_without_null(_plain(message, metadata))).SerializeToString()
        return _FIRST_MESSAGE + value

    return ValueWriter("PROTOBUF", proto_base64(name), b"application/x-protobuf", write)


def _without_null(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that have a value: in Protobuf the others are absent."""
    return {
        name: _without_null(value) if isinstance(value, dict) else _items(value)
        for name, value in fields.items()
        if value is not None
    }


def _items(value: Any) -> Any:  # noqa: ANN401 any value of a message
    if isinstance(value, list):
        return [_without_null(each) if isinstance(each, dict) else each for each in value]
    return value
