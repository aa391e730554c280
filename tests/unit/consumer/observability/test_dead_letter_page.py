"""What ``dlq show`` prints: all of a dead letter, and nothing that acts on a terminal."""

import json

from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.core.records import Headers, Position, SourceRecord
from streamlabel.consumer.observability.dead_letter_page import (
    dead_letter_document,
    dead_letter_page,
)
from streamlabel.consumer.output.dead_letter_reader import DeadLetter, read
from streamlabel.consumer.output.dead_letters import dead_letter
from streamlabel.errors import RecordError

SOURCE = Position("texts", 3, 17)


def dead(
    value: bytes | None, *, headers: Headers = (), message: str = "because", limit: int = 10**6
) -> DeadLetter:
    record = SourceRecord(SOURCE, b"key", value, headers, 1_700_000_000_000, 0.0)
    error = RecordError("inference_error", message, 4)
    letter = dead_letter(record, topic="dead", error=error, version="1", limit_bytes=limit)
    at = Position("dead", 1, 5)
    stored = SourceRecord(at, letter.key, letter.value, letter.headers, 1_700_000_000_123, 0.0)
    found = read(stored)
    assert found is not None
    return found


def test_it_says_what_happened_and_shows_the_record() -> None:
    page = dead_letter_page(dead(b"the text", headers=(("mine", b"1"),)), was_replayed=False)
    rows = {row[:18].strip(): row[20:] for row in page.splitlines()}
    assert rows == {
        "position": "dead-1-5",
        "died": "2023-11-14T22:13:20.123+00:00",
        "reason": "inference_error",
        "class": "InferenceError",
        "message": "because",
        "source": "texts-3-17",
        "attempts": "4",
        "replays before": "0",
        "replayed since": "no",
        "version": "1",
        "key": "key",
        "header mine": "1",
        "value": "the text",
    }


def test_it_says_what_was_left_out() -> None:
    page = dead_letter_page(dead(b"x" * 5000, limit=1500), was_replayed=True)
    assert "value-omitted       size=5000; sha256=" in page
    assert page.splitlines()[-1].split() == ["value", "-"]


@given(
    value=st.none() | st.binary(max_size=80),
    header=st.binary(max_size=40),
    name=st.text(max_size=10),
    message=st.text(max_size=40),
)
def test_nothing_of_it_acts_on_a_terminal(
    value: bytes | None, header: bytes, name: str, message: str
) -> None:
    letter = dead(value, headers=((name, header),), message=message)
    page = dead_letter_page(letter, was_replayed=False)
    assert all(line.isprintable() for line in page.split("\n"))
    document = dead_letter_document(letter, was_replayed=False)
    assert document.isascii()
    assert document.isprintable()


def test_json_keeps_every_byte() -> None:
    document = json.loads(dead_letter_document(dead(b"\xff\x00"), was_replayed=False))
    assert document["value"] == {"base64": "/wA="}
    assert document["key"] == "key"
