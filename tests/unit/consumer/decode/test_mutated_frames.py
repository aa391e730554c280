"""Any bytes have exactly one outcome in bounded time and memory, whatever their format."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlabel.consumer.core.records import TextRecord
from streamlabel.consumer.decode.avro import AvroSchema
from streamlabel.consumer.decode.protobuf import ProtobufSchema
from streamlabel.errors import DecodeError
from testing.mutated_frames import KINDS, mutated, outcome_of
from tests.schema_values import AVRO, PROTO_BASE64, avro, protobuf


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_frames_have_one_outcome_each(kind: str) -> None:
    for seed in range(500):
        found = outcome_of(kind, mutated(kind, seed))
        assert isinstance(found, TextRecord | DecodeError)


@pytest.mark.parametrize("kind", KINDS)
@given(value=st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_bytes_have_one_outcome(kind: str, value: bytes) -> None:
    assert isinstance(outcome_of(kind, value), TextRecord | DecodeError)


def of_nulls(count: int) -> tuple[str, bytes]:
    """Return a schema of an array of nulls, and a value of a few bytes that claims ``count``."""
    fields = [
        {"name": "text", "type": "string"},
        {"name": "nulls", "type": {"type": "array", "items": "null"}},
    ]
    number, block = count << 1, bytearray()
    while number >= 0x80:
        block.append(number & 0x7F | 0x80)
        number >>= 7
    block.append(number)
    schema = json.dumps({"type": "record", "name": "Bomb", "fields": fields})
    return schema, b"\x04hi" + bytes(block) + b"\x00"


@pytest.mark.parametrize(("count", "fits"), [(1000, True), (2**40, False), (2**62, False)])
def test_values_without_bytes_are_bounded(count: int, fits: bool) -> None:
    schema, value = of_nulls(count)
    began_s = time.thread_time()
    if fits:
        assert len(AvroSchema(schema).decode(value)["nulls"]) == count
    else:
        with pytest.raises(DecodeError, match="too many levels or parts"):
            AvroSchema(schema).decode(value)
    assert time.thread_time() - began_s < 2


@pytest.mark.parametrize(("depth", "fits"), [(20, True), (100, False), (100_000, False)])
def test_values_of_a_recursive_schema_are_bounded(depth: int, fits: bool) -> None:
    fields = [{"name": "next", "type": ["null", "Node"]}]
    schema = AvroSchema(json.dumps({"type": "record", "name": "Node", "fields": fields}))
    value = b"\x02" * depth + b"\x00"
    if fits:
        assert "next" in schema.decode(value)
    else:
        with pytest.raises(DecodeError, match="too many levels or parts"):
            schema.decode(value)


def test_a_schema_of_endless_parts_is_refused() -> None:
    kind: object = "null"
    for level in range(40):
        fields = [{"name": "a", "type": kind}, {"name": "b", "type": f"T{level - 1}"}]
        if level == 0:
            fields = fields[:1]
        kind = {"type": "record", "name": f"T{level}", "fields": fields}
    with pytest.raises(ValueError, match="more than 10000 parts"):
        AvroSchema(json.dumps(kind))


def test_bytes_after_a_value_are_refused() -> None:
    with pytest.raises(DecodeError, match="1 bytes follow the Avro value"):
        AvroSchema(AVRO).decode(avro() + b"x")


def test_a_string_that_is_not_utf_8_is_named_so() -> None:
    with pytest.raises(DecodeError) as caught:
        AvroSchema(AVRO).decode(avro().replace(b"never", b"nev\xff\xff"))
    assert caught.value.reason == "bad_encoding"


@pytest.mark.parametrize(
    "indexes",
    [b"", b"\x02", b"\x02\x08", b"\x80\x80\x80\x80\x80\x80\x01", b"\x01", b"\x7e", b"\xff"],
)
def test_message_indexes_that_name_nothing_are_refused(indexes: bytes) -> None:
    with pytest.raises(DecodeError, match="message ind"):
        ProtobufSchema([PROTO_BASE64]).decode(indexes, None)


def test_the_indexes_may_be_in_a_header() -> None:
    message = ProtobufSchema([PROTO_BASE64]).decode(protobuf(), b"\x02\x02")
    assert message.id == "post-1"
