"""How files of texts are read, whatever is in them."""

from io import BytesIO

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.files import text_files
from streamlabel.consumer.files.text_files import FileRecord, format_of, read_records, settings_of
from streamlabel.errors import ConfigError

SETTINGS = InputSettings()


def lines(content: bytes) -> list[FileRecord]:
    return list(read_records(BytesIO(content), "text", SETTINGS))


def rows(content: bytes, settings: InputSettings = SETTINGS) -> list[FileRecord]:
    return list(read_records(BytesIO(content), "csv", settings))


def document(record: FileRecord) -> object:
    assert record.value is not None
    return orjson.loads(record.value)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.jsonl", "jsonl"),
        ("b/a.NDJSON", "jsonl"),
        ("a.csv", "csv"),
        ("a.txt", "text"),
        ("a.parquet", "parquet"),
        ("-", "jsonl"),
    ],
)
def test_the_ending_says_the_format(path: str, expected: str) -> None:
    assert format_of(path) == expected


@pytest.mark.parametrize("path", ["texts", "texts.xlsx", "texts.json"])
def test_another_ending_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=r"\.jsonl"):
        format_of(path)


def test_lines_keep_their_numbers_and_blank_ones_are_no_records() -> None:
    assert lines(b"a\r\n\n  \nb") == [FileRecord(1, b"a"), FileRecord(4, b"b")]


@given(st.lists(st.binary(max_size=20).filter(lambda b: b"\n" not in b and not b.endswith(b"\r"))))
def test_every_line_that_is_not_blank_is_a_record(contents: list[bytes]) -> None:
    found = lines(b"\n".join(contents))
    expected = [(i, c) for i, c in enumerate(contents, start=1) if c.strip()]
    assert [(record.line, record.value) for record in found] == expected


def test_a_line_beyond_the_limit_is_one_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "_MAX_LINE_BYTES", 10)
    found = lines(b"123456789\n" + b"x" * 35 + b"\n" + b"y" * 10 + b"\nlast\n")
    assert [record.line for record in found] == [1, 2, 3, 4]
    assert [record.value for record in found] == [b"123456789", None, None, b"last"]


def test_csv_columns_become_text_id_and_metadata() -> None:
    found = rows(b'\xef\xbb\xbflang,text,id\nen,"one\ntwo",7\n')
    assert document(found[0]) == {"text": "one\ntwo", "id": "7", "metadata": {"lang": "en"}}
    assert found[0].line == 3


def test_csv_follows_the_configured_paths() -> None:
    settings = InputSettings(text_path="body.text", id_path=None, metadata_path=None)
    assert document(rows(b"text,id\nhallo,7\n", settings)[0]) == {"body": {"text": "hallo"}}


def test_a_csv_row_that_cannot_be_read_is_one_problem() -> None:
    found = rows(b"text,id\na,1,2\n\xff,3\n\nb,4\n")
    assert [record.line for record in found] == [2, 3, 5]
    assert [record.problem for record in found] == [
        "3 columns instead of 2",
        "the row is not UTF-8",
        None,
    ]


@pytest.mark.parametrize("content", [b"", b"id,body\n1,a\n"])
def test_a_csv_without_a_text_column_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"no column 'text'"):
        rows(content)


@given(st.binary(max_size=200))
def test_no_csv_breaks_the_reader(content: bytes) -> None:
    for record in rows(b"text,id\n" + content):
        assert (record.value is None) != (record.problem is None)


def test_a_file_is_decoded_by_its_own_format() -> None:
    plain = InputSettings(format="text")
    events = InputSettings(format="cloudevents")
    assert settings_of("text", SETTINGS).format == "text"
    assert settings_of("csv", events).format == "json"
    assert settings_of("jsonl", plain).format == "json"
    assert settings_of("jsonl", events).format == "cloudevents"
