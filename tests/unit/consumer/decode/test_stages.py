"""Compression, charsets, nested JSON and texts of several fields: lossless, or a dead letter."""

import gzip
import json
import tracemalloc

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.core.records import Headers, TextRecord
from streamlabel.consumer.registry.opening import open_decoder
from streamlabel.errors import DecodeError
from tests.schema_values import record

GZIP: Headers = (("content-encoding", b"gzip"),)
ZSTD: Headers = (("Content-Encoding", b"ZSTD"),)


def gzipped(value: bytes) -> bytes:
    """Return a value in gzip without the time, which would make the names of tests differ."""
    return gzip.compress(value, mtime=0)


def outcome(
    value: bytes, headers: Headers = (), **settings: object
) -> tuple[str, str] | TextRecord:
    """Return what a value is: a text, or reason and message."""
    decoder = open_decoder(InputSettings.model_validate(settings))
    one = record(value, headers)
    try:
        found = decoder.decode(one)
    except DecodeError as error:
        return error.reason, error.message
    assert found.source is one
    return found


def text(value: bytes, headers: Headers = (), **settings: object) -> str:
    """Return the text of a value that has one."""
    found = outcome(value, headers, **settings)
    assert isinstance(found, TextRecord), found
    return found.text


def reason(value: bytes, headers: Headers = (), **settings: object) -> str:
    """Return why a value has no text."""
    found = outcome(value, headers, **settings)
    assert isinstance(found, tuple), found
    return found[0]


VALUE = b'{"text": "hello", "metadata": {"n": 1.10}}'


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (VALUE, ()),
        (VALUE, (("content-encoding", b"identity"),)),
        (gzipped(VALUE), GZIP),
        (gzipped(VALUE[:9]) + gzipped(VALUE[9:]), GZIP),
        (bytes(cramjam.zstd.compress(VALUE)), ZSTD),
        (gzipped(VALUE), (("content-encoding", b"br"), ("content-encoding", b"gzip"))),
    ],
)
def test_a_value_is_decompressed_as_its_header_says(value: bytes, headers: Headers) -> None:
    found = outcome(value, headers, content_encoding="header")
    assert isinstance(found, TextRecord)
    assert (found.text, found.metadata) == ("hello", b'{"n": 1.10}')


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (VALUE, GZIP),
        (VALUE, ZSTD),
        (gzipped(VALUE)[:-1], GZIP),
        (gzipped(VALUE) + b"more", GZIP),
        (bytes(cramjam.zstd.compress(VALUE))[:-1], ZSTD),
        (VALUE, (("content-encoding", b"br"),)),
        (VALUE, (("content-encoding", b"gzip, zstd"),)),
        (b"", GZIP),
    ],
)
def test_what_is_not_compressed_as_declared_is_a_dead_letter(
    value: bytes, headers: Headers
) -> None:
    assert reason(value, headers, content_encoding="header") == "bad_compression"


@pytest.mark.parametrize("name", ["gzip", "zstd"])
@pytest.mark.parametrize(("excess", "fits"), [(0, True), (1, False)])
def test_the_limit_of_a_decompressed_value_is_exact(name: str, excess: int, fits: bool) -> None:
    limit = 1024 * 1024
    value = b'{"text": "' + b"x" * (limit - 12 + excess) + b'"}'
    packed = gzip.compress(value) if name == "gzip" else bytes(cramjam.zstd.compress(value))
    found = outcome(
        packed,
        (("content-encoding", name.encode()),),
        content_encoding="header",
        max_value_bytes=limit,
    )
    assert isinstance(found, TextRecord) is fits


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_a_decompression_bomb_takes_little_memory(name: str) -> None:
    zeros = bytes(256 * 1024 * 1024)
    packed = gzip.compress(zeros, 9) if name == "gzip" else bytes(cramjam.zstd.compress(zeros, 9))
    del zeros
    tracemalloc.start()
    try:
        found = reason(packed, (("content-encoding", name.encode()),), content_encoding="header")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == "bad_compression"
    assert peak < 20 * 1024 * 1024


def test_a_frame_is_inside_the_compression() -> None:
    packed = gzip.compress(b"\x00\x00\x00\x00\x07" + VALUE)
    assert text(packed, GZIP, content_encoding="header", framing="confluent") == "hello"


CHARSETS = [
    ("utf-16", "héllo €"),
    ("utf-16-le", "héllo €"),
    ("utf-16-be", "héllo 😀"),
    ("iso-8859-1", "héllo"),
    ("iso-8859-15", "héllo €"),
    ("windows-1251", "привет"),
    ("windows-1252", "héllo €"),
    ("shift_jis", "こんにちは"),
    ("euc-jp", "こんにちは"),
    ("euc-kr", "안녕"),
    ("gb18030", "你好"),
    ("big5", "你好"),
]


@pytest.mark.parametrize(("charset", "written"), CHARSETS)
def test_a_charset_is_read_without_loss(charset: str, written: str) -> None:
    assert text(written.encode(charset), format="text", charset=charset) == written
    value = json.dumps({"text": written}, ensure_ascii=False).encode(charset)
    assert text(value, charset=charset) == written


@pytest.mark.parametrize(
    ("value", "charset"),
    [
        ("hello".encode("utf-16-le"), "utf-16"),  # no byte order mark
        (b"\xff\xfe\x00\xd8", "utf-16"),  # half a character
        (b"abc", "utf-16-le"),
        (b"\x81", "windows-1252"),
        (b"\xff", "shift_jis"),
        (b"\xa1", "gb18030"),
    ],
)
def test_what_is_not_valid_in_its_charset_is_a_dead_letter(value: bytes, charset: str) -> None:
    assert reason(value, format="text", charset=charset) == "bad_encoding"


@given(st.binary(max_size=60), st.sampled_from([charset for charset, _ in CHARSETS]))
def test_no_text_differs_from_its_value(value: bytes, charset: str) -> None:
    found = outcome(value, format="text", charset=charset)
    if isinstance(found, TextRecord) and charset != "utf-16":
        assert found.text.removeprefix("\ufeff") == value.decode(charset).removeprefix("\ufeff")
        assert value.decode(charset).encode(charset) == value


def test_json_in_a_json_string_is_unpacked() -> None:
    found = outcome(json.dumps(VALUE.decode()).encode(), double_encoded=True)
    assert isinstance(found, TextRecord)
    assert (found.text, found.metadata) == ("hello", b'{"n": 1.10}')
    assert reason(VALUE, double_encoded=True) == "schema"
    assert reason(b'"{"', double_encoded=True) == "not_json"


ARTICLE = {"title": "A", "body": {"parts": [{"text": "B"}, {"text": None}, {"text": "C"}]}}
PATHS = ["title", "body.parts.text"]


def test_several_fields_make_the_text_together() -> None:
    value = json.dumps({**ARTICLE, "id": 5, "metadata": 1.10}).encode()
    found = outcome(value, text_paths=PATHS, text_separator=" | ")
    assert isinstance(found, TextRecord)
    assert (found.text, found.id, found.metadata) == ("A | B | C", "5", b"1.1")


def test_arrays_of_texts_are_joined_too() -> None:
    value = b'{"tags": ["a", ["b", "c"], null]}'
    assert text(value, text_paths=["tags"], text_separator=" ") == "a b c"


def test_fields_that_are_missing_are_left_out_and_all_missing_is_the_default() -> None:
    assert text(b'{"title": "A"}', text_paths=PATHS) == "A"
    assert text(b'{"title": null}', text_paths=PATHS, text_default="(none)") == "(none)"
    assert reason(b'{"title": null}', text_paths=PATHS) == "empty_text"
    assert reason(b"{}", text_paths=PATHS) == "schema"
    assert reason(b'{"title": 5}', text_paths=PATHS) == "schema"
    assert reason(b'{"title": {}}', text_paths=PATHS) == "schema"


@pytest.mark.parametrize(
    ("value", "is_refused"),
    [
        (b'{"title": "A", "title": "B"}', True),
        (b'{"title": "A", "t\\u0069tle": "B"}', True),
        (b'{"title": "A", "other": {"title": "B"}}', False),
        (b'{"title": "A", "body": {"parts": [{"text": "x", "text": "y"}]}}', True),
        (b'{"title": "A", "other": 1, "other": 2}', False),
        (b'{"title": "\\n", "n": ' + b"9" * 300 + b"}", False),
    ],
)
def test_a_repeated_key_on_the_way_is_refused(value: bytes, is_refused: bool) -> None:
    found = outcome(value, text_paths=PATHS)
    is_repeated = isinstance(found, tuple) and "is repeated" in found[1]
    assert is_repeated is is_refused


@pytest.mark.parametrize("depth", [500, 1000, 100_000])
def test_deep_values_have_an_outcome(depth: int) -> None:
    value = b'{"title": "A", "x": "\\n", "y": ' + b"[" * depth + b"]" * depth + b"}"
    found = outcome(value, text_paths=["title", "y"])
    assert isinstance(found, TextRecord) or found[0] == "not_json"
