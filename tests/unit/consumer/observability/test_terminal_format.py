"""What a terminal gets to see of records that strangers wrote."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from streamlabel.consumer.core.records import Headers, Position, SourceRecord
from streamlabel.consumer.observability.columns import Columns
from streamlabel.consumer.observability.terminal_format import (
    Kind,
    cells,
    columns,
    json_line,
    printable,
)

REVIEW = {
    "schema": "streamlabel.review/v1",
    "id": "42",
    "label": "spam",
    "confidence": 0.43,
    "route": "review",
    "reasons": ["low_confidence", "low_margin"],
    "source": {"topic": "texts", "partition": 2, "offset": 17},
    "text": "buy now",
}


def record(value: bytes | None, headers: Headers = ()) -> SourceRecord:
    return SourceRecord(Position("out", 0, 5), b"key", value, headers, 0, 0.0)


def review(**changes: object) -> SourceRecord:
    return record(orjson.dumps({**REVIEW, **changes}))


DEAD = record(
    b"geheimer Text",
    (
        ("traceparent", b"00-geheim"),
        ("streamlabel-error-reason", b"schema"),
        ("streamlabel-error-message", b"no field 'text'"),
        ("streamlabel-source-topic", b"texts"),
        ("streamlabel-source-partition", b"1"),
        ("streamlabel-source-offset", b"9"),
    ),
)


def test_a_label_has_position_label_confidence_route_and_id() -> None:
    shown = cells("labels", review(route="label", reasons=[]))
    assert shown == ["texts-2-17", "spam", "0.430", "label", "42"]


def test_a_review_adds_reasons_and_text() -> None:
    shown = cells("review", review())
    assert shown == ["texts-2-17", "spam", "0.430", "low_confidence,low_margin", "42", "buy now"]


@pytest.mark.parametrize("kind", ["labels", "review", "dead-letter"])
@pytest.mark.parametrize("each", [review(), record(b"not ours"), record(None)])
def test_there_is_a_value_for_every_column(kind: Kind, each: SourceRecord) -> None:
    assert len(cells(kind, each)) == len(columns(kind, "texts"))


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_confidence_is_seen_on_every_terminal(width: int) -> None:
    long = review(label="a label of several words " * 5, text="文字" * 200, id="x" * 80)
    shown = Columns(columns("review", "texts"), width=width).row(cells("review", long))
    assert " 0.430" in shown
    assert all(cell_len(line) <= width for line in shown.splitlines())


def test_a_dead_letter_has_the_reason_and_nothing_of_the_record() -> None:
    assert cells("dead-letter", DEAD) == ["texts-1-9", "schema", "no field 'text'"]
    document = json.loads(json_line("dead-letter", DEAD))
    assert document["error_reason"] == "schema"
    assert document["value_bytes"] == 13
    assert "geheim" not in json.dumps(document)


def test_json_is_the_record_itself_in_ascii() -> None:
    shown = json_line("review", review(text="\x1b[31m \u202e ü"))
    assert json.loads(shown)["text"] == "\x1b[31m \u202e ü"
    assert shown.isascii()
    assert "\x1b" not in shown


@pytest.mark.parametrize("kind", ["labels", "review", "dead-letter"])
@given(value=st.none() | st.binary(max_size=60), text=st.text(max_size=60))
def test_nothing_in_a_record_reaches_the_terminal_as_a_control(
    kind: Kind, value: bytes | None, text: str
) -> None:
    hostile = text.encode("utf-8", "replace")
    headers = tuple((f"streamlabel-{n}", hostile) for n in ("error-reason", "source-topic"))
    for each in (
        record(value, headers),
        record(json.dumps({**REVIEW, "text": text, "id": text, "label": text}).encode(), headers),
        record(json.dumps({**REVIEW, "source": text}).encode(), headers),
        record(json.dumps({**REVIEW, "reasons": text, "confidence": text}).encode(), headers),
    ):
        assert all(cell.isprintable() for cell in cells(kind, each))
        assert json_line(kind, each).isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\r", "a\\nb\\r"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("\x9b31m", "\\x9b31m"),
        ("\ud800", "\\ud800"),
        ("größer 中文 🙂", "größer 中文 🙂"),
    ],
)
def test_what_could_act_on_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_long_text_is_cut_visibly() -> None:
    assert printable("x" * 81) == "x" * 80 + "…"
    assert printable("x" * 80) == "x" * 80
