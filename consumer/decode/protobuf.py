"""Reads Protobuf with the compiled descriptors of its schema. Pure.

Source of the message indexes: Confluent's wire format: their number and the indexes, as zigzag
varints; a single 0 means the first message.
"""

from base64 import b64decode
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, Final

from streamlabel.consumer.decode.json_fields import METADATA_LIMIT_BYTES, MISSING
from streamlabel.errors import DecodeError
from streamlabel.foreign import first_line

__all__ = ["ProtobufSchema", "field_of", "plain"]

_MAX_INDEXES: Final = 32
_FIRST: Final = b"\x00"
_MAX_VARINT_BYTES: Final = 5
_MAX_CLASSES: Final = 64
# Registries do not list these files as references, because every compiler has them.
_WELL_KNOWN: Final = (
    "any", "api", "descriptor", "duration", "empty", "field_mask", "source_context", "struct",
    "timestamp", "type", "wrappers",
)  # fmt: skip


class ProtobufSchema:
    """A schema, compiled.

    Args:
        files: descriptors (FileDescriptorProto) of the schema and of the files that it imports,
            those that others need first, the schema last; base64 or bytes.
        message: full name of the message type; None: what the framing names, or the first one.
        names: under which the first of the files are imported; empty: as they say. A registry
            gives every file of its own the same name.

    Raises:
        ValueError: they are not such descriptors, or there is no such message; says why.
    """

    def __init__(
        self,
        files: Sequence[str | bytes],
        message: str | None = None,
        names: Sequence[str] = (),
    ) -> None:
        # with an extra; imported when the first schema is compiled
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: PLC0415

        try:
            protos = [_parsed(descriptor_pb2, each) for each in files]
            for proto, name in zip(protos, names, strict=False):
                proto.name = name or proto.name
            self._pool = descriptor_pool.DescriptorPool()
            for proto in protos:
                _add_well_known(self._pool, proto)
                self._pool.Add(proto)
            self._file = protos[-1]
            if message is not None:
                self._pool.FindMessageTypeByName(message)
        except Exception as error:  # descriptors can be wrong in any way
            raise ValueError(f"not a Protobuf schema: {first_line(error)}") from error
        if not self._file.message_type:
            raise ValueError("the Protobuf schema has no message")
        self._message = message
        self._make = message_factory.GetMessageClass
        self._classes: dict[bytes, Any] = {}

    def decode(self, payload: bytes, indexes: bytes | None) -> Any:  # noqa: ANN401 any message
        """Return the message.

        Args:
            payload: the value.
            indexes: which message of the schema, as varints, may be empty; None: they are at the
                beginning of the payload.

        Raises:
            DecodeError: ``schema``: not a message of this schema.
        """
        if indexes is not None:
            at, wanted = 0, indexes
        elif payload.startswith(_FIRST):  # nearly every schema has one message at its top
            at, wanted = 1, _FIRST
        else:
            at = _end_of_indexes(payload)
            wanted = payload[:at]
        found = self._classes.get(wanted)
        if found is None:
            found = self._class(wanted)
            if len(self._classes) < _MAX_CLASSES:
                self._classes[wanted] = found
        message = found()
        try:
            found.ParseFromString(message, payload[at:])
        except Exception as error:  # noqa: BLE001 of the library; may hold the value
            problem = f"not Protobuf of its schema ({type(error).__name__})"
        else:
            return message
        # Raised outside the handler, because the caught error may contain the whole value.
        raise DecodeError("schema", problem)

    def _class(self, indexes: bytes) -> Any:  # noqa: ANN401 a class of the library
        name = self._message
        if name is None:
            level: Any = self._file
            names: list[str] = []
            for index in _read_indexes(indexes) or [0]:
                messages = level.nested_type if names else level.message_type
                if index >= len(messages):
                    raise DecodeError("schema", "the message index is not in the Protobuf schema")
                level = messages[index]
                names.append(level.name)
            package = [self._file.package] if self._file.package else []
            name = ".".join([*package, *names])
        return self._make(self._pool.FindMessageTypeByName(name))


def field_of(message: Any, name: str) -> Any:  # noqa: ANN401 any part of a message
    """Return what a message or map has under a name; MISSING: nothing."""
    # methods of the class everywhere, because a field may have the name of one
    kind = type(message)
    descriptor = getattr(kind, "DESCRIPTOR", None)
    if descriptor is None:
        is_map = hasattr(message, "keys")
        return _listed(message[name]) if is_map and name in message else MISSING
    how = _reading(descriptor, name)
    if how == "missing" or (how == "optional" and not kind.HasField(message, name)):
        return MISSING
    value = getattr(message, name)
    return _listed(value) if how == "perhaps repeated" else value


@lru_cache(maxsize=4096)
def _reading(descriptor: Any, name: str) -> str:  # noqa: ANN401 of the library
    """Return how a field is read; its descriptor is asked once, because that is slow."""
    field = descriptor.fields_by_name.get(name)
    if field is None:
        return "missing"
    if field.has_presence:
        return "optional"
    # protobuf 5 does not have it
    return "perhaps repeated" if getattr(field, "is_repeated", True) else "single"


def plain(value: Any) -> Any:  # noqa: ANN401 any part of a message
    """Return a part of a message as JSON has it; None: it is larger than metadata may be."""
    from google.protobuf import json_format  # noqa: PLC0415 with an extra

    if isinstance(value, list):
        items = [plain(each) for each in value]
        return None if any(each is None for each in items) else items
    kind = type(value)
    if getattr(kind, "DESCRIPTOR", None) is None:
        if hasattr(value, "keys"):
            return {str(key): plain(value[key]) for key in value}
        return value
    if kind.ByteSize(value) > METADATA_LIMIT_BYTES:
        return None
    try:
        return json_format.MessageToDict(value, preserving_proto_field_name=True)
    except Exception:  # noqa: BLE001 for example of a type Any that is not in the schema
        return None


def _listed(value: Any) -> Any:  # noqa: ANN401 any field
    # the library's containers of repeated fields are no lists
    return list(value) if hasattr(value, "append") else value


def _parsed(descriptor_pb2: Any, file: str | bytes) -> Any:  # noqa: ANN401 of the library
    proto = descriptor_pb2.FileDescriptorProto()
    proto.ParseFromString(b64decode(file, validate=True) if isinstance(file, str) else file)
    return proto


def _add_well_known(pool: Any, proto: Any) -> None:  # noqa: ANN401 of the library
    for name in proto.dependency:
        stem = name.removeprefix("google/protobuf/").removesuffix(".proto")
        if stem in _WELL_KNOWN:
            module = import_module(f"google.protobuf.{stem}_pb2")
            known = module.DESCRIPTOR
            for inner in known.dependencies:
                pool.AddSerializedFile(inner.serialized_pb)
            pool.AddSerializedFile(known.serialized_pb)


def _end_of_indexes(payload: bytes) -> int:
    count, at = _varint(payload, 0)
    for _ in range(count):
        _, at = _varint(payload, at)
    return at


def _read_indexes(indexes: bytes) -> list[int]:
    if not indexes:
        return []
    count, at = _varint(indexes, 0)
    found = []
    for _ in range(count):
        index, at = _varint(indexes, at)
        found.append(index)
    return found


def _varint(payload: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift, byte in enumerate(payload[at : at + _MAX_VARINT_BYTES]):
        number |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            number = (number >> 1) ^ -(number & 1)
            if number >= 0 and (at > 0 or number <= _MAX_INDEXES):
                return number, at + shift + 1
            break
    raise DecodeError("schema", "no message indexes in front of the Protobuf value")
