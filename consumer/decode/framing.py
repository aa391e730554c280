"""Where a record names its schema: bytes before the value, or headers. Pure.

Sources: Confluent's wire format (0x00 and a four-byte id, or 0x01 and a GUID of 16 bytes, both also
in the header ``__value_schema_id``); AWS Glue (0x03, compression, UUID of the schema version);
Apicurio's headers.
"""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple
from uuid import UUID

from streamlabel.config.registry import Framing
from streamlabel.consumer.core.records import Headers
from streamlabel.consumer.decode.compression import decompressed
from streamlabel.errors import DecodeError

__all__ = [
    "FRAME_BYTES",
    "Frame",
    "SchemaName",
    "begins_with_frame",
    "describe_frame",
    "frame_reader",
    "schema_name",
    "without_frame",
]

_MAGIC: Final = b"\x00"
FRAME_BYTES: Final = 5
_GUID_MAGIC: Final = b"\x01"
_GUID_FRAME_BYTES: Final = 17
_GLUE_MAGIC: Final = b"\x03"
_GLUE_FRAME_BYTES: Final = 18
_GLUE_COMPRESSION: Final = {0: None, 5: "zlib"}
_HEADER: Final = "__value_schema_id"
_APICURIO: Final = {"apicurio.value.globalid": b"g", "apicurio.value.contentid": b"c"}
_APICURIO_ID_BYTES: Final = 8


class Frame(NamedTuple):
    """A record's value and the name of its schema.

    Attributes:
        key: the schema's name as bytes: what ``schema_name`` reads, equal for equal schemas.
        payload: the value without what names the schema.
        indexes: Protobuf: which message of the schema; None: at the beginning of the payload.
    """

    key: bytes
    payload: bytes
    indexes: bytes | None


class SchemaName(NamedTuple):
    """The name of a schema.

    Attributes:
        kind: how the registry is asked for it.
        value: as in ``schema_files``.
    """

    kind: Literal["id", "guid", "version", "global", "content"]
    value: str

    def __str__(self) -> str:
        kinds = {
            "guid": "GUID",
            "version": "version",
            "global": "global id",
            "content": "content id",
        }
        return f"{kinds.get(self.kind, self.kind)} {self.value}"


# value, headers -> frame
FrameReader = Callable[[bytes, Headers], Frame]


def begins_with_frame(value: bytes) -> bool:
    """Return whether ``value`` looks framed. JSON never begins with 0x00."""
    return value.startswith(_MAGIC) and len(value) >= FRAME_BYTES


def describe_frame(value: bytes) -> str:
    """Return, for an error message, what the value begins with and what to set."""
    schema_id = int.from_bytes(value[1:FRAME_BYTES])
    return (
        f"it begins with byte 0x00 and a schema id ({schema_id}): a schema registry's frame; set"
        " input.framing: confluent, and for Avro or Protobuf input.format"
    )


def without_frame(value: bytes) -> bytes:
    """Return the value without its frame.

    Raises:
        DecodeError: ``schema``: there is no frame, although the settings say that there is.
    """
    return _confluent(value, ()).payload


def frame_reader(framing: Framing, *, max_bytes: int) -> FrameReader:
    """Return a function that separates the value of a record and the name of its schema.

    It raises ``DecodeError`` (``schema``) for a record without such a name.

    Args:
        framing: of the settings, not ``none``.
        max_bytes: maximum size of a payload that Glue has compressed.
    """
    if framing == "glue":
        return lambda value, _: _glue(value, max_bytes)
    readers: dict[str, FrameReader] = {
        "confluent": _confluent,
        "confluent_header": _confluent_header,
        "apicurio_header": _apicurio_header,
    }
    return readers[framing]


def schema_name(key: bytes) -> SchemaName:
    """Return the name of the schema, given the key of a frame."""
    magic, rest = key[:1], key[1:]
    if magic == _MAGIC:
        return SchemaName("id", str(int.from_bytes(rest)))
    if magic == _GUID_MAGIC:
        return SchemaName("guid", str(UUID(bytes=rest)))
    if magic == _GLUE_MAGIC:
        return SchemaName("version", str(UUID(bytes=rest)))
    return SchemaName("global" if magic == b"g" else "content", str(int.from_bytes(rest)))


def _confluent(value: bytes, _headers: Headers) -> Frame:
    magic = value[:1]
    if magic == _MAGIC and len(value) >= FRAME_BYTES:
        return Frame(value[:FRAME_BYTES], value[FRAME_BYTES:], None)
    if magic == _GUID_MAGIC and len(value) >= _GUID_FRAME_BYTES:
        return Frame(value[:_GUID_FRAME_BYTES], value[_GUID_FRAME_BYTES:], None)
    raise DecodeError(
        "schema",
        "no schema registry's frame (byte 0x00 and a schema id, or 0x01 and a GUID), which"
        " input.framing: confluent expects",
    )


def _confluent_header(value: bytes, headers: Headers) -> Frame:
    named = _last(headers, _HEADER)
    if named is not None:
        for magic, size in ((_MAGIC, FRAME_BYTES), (_GUID_MAGIC, _GUID_FRAME_BYTES)):
            if named.startswith(magic) and len(named) >= size:
                return Frame(named[:size], value, named[size:])
    raise DecodeError(
        "schema",
        f"no header {_HEADER} with a schema id, which input.framing: confluent_header expects",
    )


def _glue(value: bytes, max_bytes: int) -> Frame:
    if not value.startswith(_GLUE_MAGIC) or len(value) < _GLUE_FRAME_BYTES:
        raise DecodeError(
            "schema",
            "no frame of AWS Glue (byte 0x03, compression and a UUID), which input.framing: glue"
            " expects",
        )
    if value[1] not in _GLUE_COMPRESSION:
        raise DecodeError("bad_compression", f"compression {value[1]} of AWS Glue is not known")
    payload = value[_GLUE_FRAME_BYTES:]
    encoding = _GLUE_COMPRESSION[value[1]]
    if encoding is not None:
        payload = decompressed(payload, encoding, max_bytes=max_bytes)
    return Frame(_GLUE_MAGIC + value[2:_GLUE_FRAME_BYTES], payload, None)


def _apicurio_header(value: bytes, headers: Headers) -> Frame:
    given = {name.lower(): header for name, header in headers}
    for name, mark in _APICURIO.items():
        header = given.get(name)
        if header is not None and len(header) == _APICURIO_ID_BYTES:
            return Frame(mark + header, value, None)
    raise DecodeError(
        "schema",
        "no header apicurio.value.globalId or apicurio.value.contentId with an id of 8 bytes, which"
        " input.framing: apicurio_header expects",
    )


def _last(headers: Headers, wanted: str) -> bytes | None:
    return next((header for name, header in reversed(headers) if name == wanted), None)
