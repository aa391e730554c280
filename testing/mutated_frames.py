"""Frames of every format with faults in them, for tests and benchmarks."""

import gzip
import json
import random
from functools import cache
from io import BytesIO
from typing import Any, Final

import cramjam
import fastavro
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.core.records import Position, SourceRecord, TextRecord
from streamlabel.consumer.decode.avro import AvroSchema
from streamlabel.consumer.decode.protobuf import ProtobufSchema
from streamlabel.consumer.decode.schema_decoder import JSON, ONLY, Schema, SchemaDecoder
from streamlabel.consumer.decode.staged_decoder import StagedDecoder
from streamlabel.errors import DecodeError

__all__ = ["KINDS", "good", "mutated", "outcome_of"]

KINDS: Final = ("avro", "avro_recursive", "protobuf", "debezium", "debezium_avro", "gzip", "zstd")

_FRAME: Final = b"\x00\x00\x00\x00\x07"
_ROW: Final = {"id": 17, "text": "You never listen, do you?", "metadata": {"user": 7}}
_REGISTRY: Final = {"url": "http://localhost"}
_MOST_OPERATIONS: Final = 4


def _record(name: str, **fields: object) -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": field, "type": kind} for field, kind in fields.items()],
    }


_POST: Final = _record(
    "Post",
    id="long",
    text=["null", "string"],
    tags={"type": "array", "items": "string"},
    counts={"type": "map", "values": "double"},
    kind={"type": "enum", "name": "Kind", "symbols": ["A", "B"]},
    metadata=_record("About", user="int", mark={"type": "fixed", "name": "Mark", "size": 4}),
)
_TREE: Final = _record(
    "Post",
    text="string",
    answers={"type": "array", "items": "Post"},
    nothing={"type": "array", "items": "null"},
)
_CHANGE: Final = _record(
    "Change",
    after=["null", _record("Row", id="long", text="string")],
    source=_record("Source", ts_ms="long"),
    op="string",
)


def _avro(schema: dict[str, Any], value: object) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(dict(schema)), value)
    return stream.getvalue()


@cache
def _proto() -> bytes:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="post.proto", syntax="proto3")
    post = file.message_type.add(name="Post")
    for number, name in enumerate(("id", "text"), start=1):
        post.field.add(name=name, number=number, type=kinds.TYPE_STRING, label=1)
    post.field.add(name="metadata", number=3, type=kinds.TYPE_MESSAGE, label=1, type_name=".Post")
    serialized: bytes = file.SerializeToString()
    return serialized


@cache
def good(kind: str) -> bytes:
    """Return a correct frame."""
    if kind == "avro":
        about = {"user": 7, "mark": b"abcd"}
        post = {**_ROW, "tags": ["a", "b"], "counts": {"x": 1.5}, "kind": "B", "metadata": about}
        return _FRAME + _avro(_POST, post)
    if kind == "avro_recursive":
        leaf = {"text": "leaf", "answers": [], "nothing": [None] * 3}
        return _FRAME + _avro(_TREE, {"text": "root", "answers": [leaf, leaf], "nothing": []})
    if kind == "protobuf":
        pool = descriptor_pool.DescriptorPool()
        pool.AddSerializedFile(_proto())
        make = message_factory.GetMessageClass(pool.FindMessageTypeByName("Post"))
        post = make(id="17", text=_ROW["text"], metadata={"id": "user", "text": "7"})
        return _FRAME + b"\x00" + bytes(post.SerializeToString())
    event = {"after": _ROW, "source": {"ts_ms": 1234}, "op": "c"}
    if kind == "debezium":
        return json.dumps({"schema": {}, "payload": {"before": None, **event}}).encode()
    if kind == "debezium_avro":
        return _FRAME + _avro(_CHANGE, event)
    value = json.dumps(_ROW).encode()
    return gzip.compress(value, mtime=0) if kind == "gzip" else bytes(cramjam.zstd.compress(value))


@cache
def _bomb(kind: str) -> bytes:
    zeros = b'{"text": "' + b"0" * (64 * 1024 * 1024) + b'"}'
    return gzip.compress(zeros, mtime=0) if kind == "gzip" else bytes(cramjam.zstd.compress(zeros))


def mutated(kind: str, seed: int) -> bytes:
    """Return a frame with some faults; of compressed ones, every hundredth is a bomb."""
    choose = random.Random(f"{kind} {seed}")
    is_bomb = kind in {"gzip", "zstd"} and seed % 100 == 0
    frame = bytearray(_bomb(kind) if is_bomb else good(kind))
    for _ in range(choose.randint(0 if is_bomb else 1, _MOST_OPERATIONS)):
        at = choose.randrange(len(frame)) if frame else 0
        match choose.randrange(6):
            case 0 if frame:
                frame[at] ^= 1 << choose.randrange(8)
            case 1 if frame:
                frame[at] = choose.choice([0, 1, 0x7F, 0x80, 0xFF])
            case 2:
                del frame[at:]
            case 3:
                del frame[at : at + choose.randint(1, 8)]
            case 4:
                frame[at:at] = choose.randbytes(choose.randint(1, 12))
            case _:
                frame[at:at] = b"\xff" * 9 + b"\x01"  # the largest number that fits
    return bytes(frame)


@cache
def _decoder(kind: str) -> SchemaDecoder | StagedDecoder:
    if kind in {"gzip", "zstd"}:
        return StagedDecoder(InputSettings(content_encoding="header"))
    framed: dict[str, Any] = {"framing": "confluent", "registry": _REGISTRY}
    schemas: dict[str, Schema] = {
        "avro": AvroSchema(json.dumps(_POST)),
        "avro_recursive": AvroSchema(json.dumps(_TREE)),
        "protobuf": ProtobufSchema([_proto()]),
        "debezium_avro": AvroSchema(json.dumps(_CHANGE)),
        "debezium": JSON,
    }
    key = ONLY if kind == "debezium" else _FRAME
    values = {} if kind == "debezium" else framed
    settings = InputSettings.model_validate({"format": kind.partition("_")[0], **values})
    return SchemaDecoder(settings, _Known({key: schemas[kind]}))


class _Known(dict[bytes, Schema]):
    """Schemas of a registry that knows the same one under every id."""

    def __missing__(self, key: bytes) -> Schema:
        return next(iter(self.values()))


def outcome_of(kind: str, frame: bytes) -> TextRecord | DecodeError:
    """Return the one outcome of a frame; any other error is a bug."""
    headers = (("content-encoding", kind.encode()),) if kind in {"gzip", "zstd"} else ()
    record = SourceRecord(Position("texts", 0, 0), None, frame, headers, 0, 0.0)
    try:
        return _decoder(kind).decode(record)
    except DecodeError as error:
        return error
