"""The five bytes that a schema registry's serializers put before a value. Pure.

Source: Confluent's wire format: byte 0x00, then the schema id as four bytes, big-endian, followed
by JSON, or Avro or Protobuf, which are not read here.
"""

from typing import Final

from streamlabel.errors import DecodeError

__all__ = ["begins_with_frame", "describe_frame", "without_frame"]

_MAGIC: Final = b"\x00"
_FRAME_BYTES: Final = 5


def begins_with_frame(value: bytes) -> bool:
    """Return whether ``value`` looks framed. JSON never begins with 0x00."""
    return value.startswith(_MAGIC) and len(value) >= _FRAME_BYTES


def describe_frame(value: bytes) -> str:
    """Return, for an error message, what the value begins with and what to set."""
    schema_id = int.from_bytes(value[1:_FRAME_BYTES])
    return (
        f"it begins with byte 0x00 and a schema id ({schema_id}): a schema registry's frame; for"
        " JSON set input.framing: confluent"
    )


def without_frame(value: bytes) -> bytes:
    """Return the value without its frame.

    Raises:
        DecodeError: ``schema``: there is no frame, although the settings say that there is.
    """
    if not begins_with_frame(value):
        raise DecodeError(
            "schema",
            "no schema registry's frame (byte 0x00 and a schema id), which input.framing:"
            " confluent expects",
        )
    return value[_FRAME_BYTES:]
