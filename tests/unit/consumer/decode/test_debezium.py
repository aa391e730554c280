"""Debezium: the new row is the record, and changes without one are skipped."""

import json

import pytest

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.core.records import TextRecord
from streamlabel.consumer.decode.avro import AvroSchema
from streamlabel.consumer.decode.schema_decoder import JSON, ONLY, Schema, SchemaDecoder
from streamlabel.errors import DecodeError
from tests.schema_values import avro, change, framed, record

ROW = {"id": 17, "text": "hello", "metadata": {"user": 7}}
AVRO = json.dumps(
    {
        "type": "record",
        "name": "Envelope",
        "fields": [
            {
                "name": "after",
                "type": [
                    "null",
                    {
                        "type": "record",
                        "name": "Row",
                        "fields": [
                            {"name": "id", "type": "long"},
                            {"name": "text", "type": ["null", "string"]},
                        ],
                    },
                ],
            },
            {
                "name": "source",
                "type": {
                    "type": "record",
                    "name": "Source",
                    "fields": [{"name": "ts_ms", "type": "long"}],
                },
            },
            {"name": "op", "type": "string"},
        ],
    }
)


def outcome(value: bytes | None, **settings: object) -> TextRecord | str:
    """Return the text record of a change, or the reason why there is none."""
    given = InputSettings.model_validate({"format": "debezium", **settings})
    schemas: dict[bytes, Schema] = {ONLY: JSON, framed(b""): AvroSchema(AVRO)}
    try:
        return SchemaDecoder(given, schemas).decode(record(value))
    except DecodeError as error:
        return error.reason


@pytest.mark.parametrize("op", ["c", "u", "r"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_the_new_row_is_the_record(op: str, wrapped: bool) -> None:
    found = outcome(change(ROW, op=op, wrapped=wrapped))
    assert isinstance(found, TextRecord)
    assert (found.text, found.id, found.metadata) == ("hello", "17", b'{"user": 7}')
    assert found.event_time_ms == 1234


@pytest.mark.parametrize("op", ["d", "t", "m"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_change_without_a_new_row_is_skipped(op: str, wrapped: bool) -> None:
    assert outcome(change(None, op=op, wrapped=wrapped)) == "no_row"


def test_a_tombstone_is_skipped() -> None:
    assert outcome(None) == "no_row"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{}", "schema"),
        (b"[]", "schema"),
        (b'{"op": 1}', "schema"),
        (b'{"op": "x", "after": {}}', "schema"),
        (b'{"op": ["c"], "after": {}}', "schema"),
        (change(None), "schema"),
        (change({}), "schema"),
        (change({"text": 5}), "schema"),
        (change({"text": None}), "empty_text"),
        (b'{"op": "c", "after": {"text": "a", "text": "b"}}', "schema"),
        (b"{", "not_json"),
    ],
)
def test_what_is_no_change_is_a_dead_letter(value: bytes, reason: str) -> None:
    assert outcome(value) == reason


def test_a_row_may_be_json_in_a_string() -> None:
    found = outcome(change(json.dumps(ROW)))
    assert isinstance(found, TextRecord)
    assert (found.text, found.id) == ("hello", "17")


def test_several_fields_of_the_row_make_the_text_together() -> None:
    for wrapped in (True, False):
        value = change({"title": "a", "body": "b"}, wrapped=wrapped)
        found = outcome(value, text_paths=["title", "body"])
        assert isinstance(found, TextRecord)
        assert found.text == "a\n\nb"


@pytest.mark.parametrize(
    ("row", "op", "expected"),
    [
        ({"id": 17, "text": "hello"}, "c", ("hello", "17", 1234)),
        ({"id": 17, "text": None}, "c", "empty_text"),
        (None, "d", "no_row"),
    ],
)
def test_a_change_may_be_avro(row: object, op: str, expected: object) -> None:
    event = {"after": row, "source": {"ts_ms": 1234}, "op": op}
    found = outcome(
        framed(avro(event, AVRO)), framing="confluent", registry={"url": "http://localhost"}
    )
    if isinstance(found, TextRecord):
        assert (found.text, found.id, found.event_time_ms) == expected
    else:
        assert found == expected
