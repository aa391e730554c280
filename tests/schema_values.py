"""Schemas and values of the formats that have them, for tests."""

import json
from base64 import b64encode
from io import BytesIO
from typing import Any

import fastavro
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from streamlabel.consumer.core.records import Headers, Position, SourceRecord

__all__ = [
    "AVRO",
    "POST",
    "PROTO",
    "PROTO_BASE64",
    "avro",
    "change",
    "framed",
    "protobuf",
    "record",
]

AVRO = json.dumps(
    {
        "type": "record",
        "name": "Post",
        "namespace": "example",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "text", "type": ["null", "string"]},
            {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
            {
                "name": "metadata",
                "type": {
                    "type": "record",
                    "name": "About",
                    "fields": [
                        {"name": "user", "type": "long"},
                        {"name": "raw", "type": "bytes"},
                        {
                            "name": "price",
                            "type": {
                                "type": "bytes",
                                "logicalType": "decimal",
                                "precision": 9,
                                "scale": 2,
                            },
                        },
                    ],
                },
            },
        ],
    }
)

POST: dict[str, Any] = {
    "id": "post-1",
    "text": "You never listen, do you?",
    "tags": ["a", "b"],
    "metadata": {"user": 7, "raw": b"\x00\xff", "price": b"\x01\x02"},
}


def _proto() -> descriptor_pb2.FileDescriptorProto:
    text = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
    number = descriptor_pb2.FieldDescriptorProto.TYPE_INT64
    inner = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
    one = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
    many = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
    file = descriptor_pb2.FileDescriptorProto(name="post.proto", package="example", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    file.message_type.add(name="Other").field.add(name="body", number=1, type=text, label=one)
    post = file.message_type.add(name="Post")
    post.field.add(name="id", number=1, type=text, label=one)
    post.field.add(name="text", number=2, type=text, label=one)
    post.field.add(name="tags", number=3, type=text, label=many)
    post.field.add(
        name="metadata", number=4, type=inner, label=one, type_name=".example.Post.About"
    )
    post.field.add(
        name="at", number=5, type=inner, label=one, type_name=".google.protobuf.Timestamp"
    )
    about = post.nested_type.add(name="About")
    about.field.add(name="user", number=1, type=number, label=one)
    return file


PROTO = _proto()
PROTO_BASE64 = b64encode(PROTO.SerializeToString()).decode()


def avro(value: object = None, schema: str = AVRO) -> bytes:
    """Return a value in Avro; by default ``POST``."""
    stream = BytesIO()
    parsed = fastavro.parse_schema(json.loads(schema))
    fastavro.schemaless_writer(stream, parsed, POST if value is None else value)
    return stream.getvalue()


def protobuf(**fields: object) -> bytes:
    """Return a ``Post`` in Protobuf; by default like ``POST``."""
    from google.protobuf import timestamp_pb2

    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(PROTO.SerializeToString())
    make = message_factory.GetMessageClass(pool.FindMessageTypeByName("example.Post"))
    usual = {"id": "post-1", "text": POST["text"], "tags": ["a", "b"], "metadata": {"user": 7}}
    serialized: bytes = make(**{**usual, **fields}).SerializeToString()
    return serialized


def framed(payload: bytes, schema_id: int = 7) -> bytes:
    """Return a value with an id in front, as Confluent's serializers write it."""
    return b"\x00" + schema_id.to_bytes(4) + payload


def change(row: object, *, op: str = "c", wrapped: bool = False) -> bytes:
    """Return a change event of Debezium in JSON."""
    event = {"before": None, "after": row, "source": {"ts_ms": 1234}, "op": op, "ts_ms": 99}
    return json.dumps(
        {"schema": {"type": "struct"}, "payload": event} if wrapped else event
    ).encode()


def record(value: bytes | None, headers: Headers = (), offset: int = 41) -> SourceRecord:
    """Return a record as read."""
    position = Position("texts", 3, offset)
    return SourceRecord(position, b"k", value, headers, 1_700_000_000_000, 5.0)
