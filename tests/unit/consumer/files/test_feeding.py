"""What lines of files become on the input topic."""

import orjson
import pytest

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.core.records import Headers, Position, SourceRecord
from streamlabel.consumer.decode.decoder import Decoder
from streamlabel.consumer.files.feeding import Feeder
from streamlabel.consumer.files.text_files import FileFormat
from streamlabel.errors import ConfigError, RecordError


def record(value: bytes | None, problem: str | None = None, headers: Headers = ()) -> SourceRecord:
    return SourceRecord(Position("in.x", 0, 3), None, value, headers, 0, 0.0, undecodable=problem)


def fed(
    file_format: FileFormat, value: bytes, key: str | None = None, **settings: object
) -> tuple[bytes | None, bytes]:
    return Feeder(file_format, InputSettings.model_validate(settings), key).record(record(value))


@pytest.mark.parametrize("value", [b'{"text": "a" }', b"broken", b"\xff"])
@pytest.mark.parametrize("topic_format", ["json", "cloudevents"])
def test_json_lines_go_out_byte_for_byte(value: bytes, topic_format: str) -> None:
    assert fed("jsonl", value, format=topic_format) == (None, value)


@pytest.mark.parametrize("topic_format", ["json", "text", "cloudevents"])
@pytest.mark.parametrize("path", ["text", "body.text"])
def test_a_line_of_text_is_read_back_as_that_text(topic_format: str, path: str) -> None:
    settings = InputSettings.model_validate({"format": topic_format, "text_path": path})
    feeder = Feeder("text", settings, None)
    _, value = feeder.record(record("größer 🙂".encode()))
    written = record(value, headers=feeder.headers)
    assert Decoder(settings).decode(written).text == "größer 🙂"


def test_a_csv_row_is_read_back_from_a_cloudevent() -> None:
    settings = InputSettings.model_validate({"format": "cloudevents"})
    row = orjson.dumps({"text": "hallo", "metadata": {"lang": "de"}})
    feeder = Feeder("csv", settings, None)
    _, value = feeder.record(record(row))
    text = Decoder(settings).decode(record(value, headers=feeder.headers))
    assert (text.text, text.id, text.metadata) == ("hallo", "in.x-0-3", b'{"lang":"de"}')


def test_a_json_line_gives_its_text_to_a_topic_of_texts() -> None:
    assert fed("jsonl", b'{"text": "a"}', format="text") == (None, b"a")
    with pytest.raises(RecordError, match="JSON"):
        fed("jsonl", b"broken", format="text")


def test_a_line_that_cannot_be_read_says_why() -> None:
    with pytest.raises(RecordError, match="2 columns"):
        Feeder("csv", InputSettings(), None).record(record(None, "2 columns instead of 3"))
    with pytest.raises(RecordError, match="not UTF-8"):
        fed("text", b"\xff")


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (b'{"user": {"id": "u1"}}', b"u1"),
        (b'{"user": {"id": 7}}', b"7"),
        (b'{"user": {"id": null}}', None),
        (b'{"user": "u1"}', None),
        (b"[1]", None),
        (b"broken", None),
    ],
)
def test_the_key_is_the_value_of_the_key_field(value: bytes, key: bytes | None) -> None:
    assert fed("jsonl", value, "user.id")[0] == key


def test_a_csv_column_can_be_the_key() -> None:
    row = orjson.dumps({"text": "a", "id": "1", "metadata": {"user.id": "u1"}})
    assert fed("csv", row, "user.id")[0] == b"u1"
    assert fed("csv", row, "id")[0] == b"1"


def test_a_text_file_has_no_keys() -> None:
    with pytest.raises(ConfigError, match="--key-field"):
        Feeder("text", InputSettings(), "user")
