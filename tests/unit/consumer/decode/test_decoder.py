"""Decoding: any bytes are a text or a dead letter with a reason, and nobody waits for it."""

import base64
import gc
import json
import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.core.records import (
    DeadLetterReason,
    Headers,
    Position,
    SourceRecord,
    TextRecord,
)
from streamlabel.consumer.decode.decoder import ID_LIMIT_CHARS, Decoder
from streamlabel.consumer.decode.json_fields import METADATA_LIMIT_BYTES
from streamlabel.consumer.decode.visible import VISIBLE
from streamlabel.errors import DecodeError

REASONS = get_args(DeadLetterReason)
STRUCTURED: Headers = (("content-type", b"application/cloudevents+json; charset=utf-8"),)


@contextmanager
def takes_less_than(limit_s: float) -> Iterator[None]:
    """Measure this thread's own work; collecting the garbage of other tests is not part of it."""
    gc.disable()
    try:
        started_s = time.thread_time()
        yield
        took_s = time.thread_time() - started_s
    finally:
        gc.enable()
    assert took_s < limit_s


def record(
    value: bytes | None, headers: Headers = (), undecodable: str | None = None
) -> SourceRecord:
    position = Position("texts", 3, 41)
    return SourceRecord(position, b"k", value, headers, 1_700_000_000_000, 5.0, undecodable)


def decode(value: bytes | None, headers: Headers = (), **input_settings: str) -> TextRecord:
    return Decoder(InputSettings(**input_settings)).decode(record(value, headers))


def outcome(value: bytes | None, headers: Headers, **input_settings: str) -> object:
    try:
        return decode(value, headers, **input_settings)
    except DecodeError as error:
        return error


def refusal(value: bytes | None, headers: Headers = (), **input_settings: str) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode(value, headers, **input_settings)
    return caught.value


# JSON


def test_text_id_and_metadata_are_found() -> None:
    found = decode(b'{"id": "a1", "text": "Hello \\u00e9", "metadata": {"user": 7}}')
    assert (found.text, found.id, found.metadata) == ("Hello é", "a1", b'{"user": 7}')
    assert found.event_time_ms == 1_700_000_000_000
    assert not found.metadata_dropped


def test_fields_are_found_at_dotted_paths() -> None:
    found = decode(
        b'{"post": {"body": "Hello", "key": 12, "extra": [1]}}',
        text_path="post.body",
        id_path="post.key",
        metadata_path="post.extra",
    )
    assert (found.text, found.id, found.metadata) == ("Hello", "12", b"[1]")


@pytest.mark.parametrize("identity", ["null", "true", "1.5", "[]", "{}", '""', '" "', "1e30"])
def test_an_id_that_is_neither_string_nor_integer_gives_way_to_the_position(identity: str) -> None:
    assert decode(f'{{"id": {identity}, "text": "x"}}'.encode()).id == "texts-3-41"


@pytest.mark.parametrize("digits", ["0", "-7", "18446744073709551616", "9" * 256])
def test_an_integer_of_any_size_is_an_id(digits: str) -> None:
    assert decode(f'{{"id": {digits}, "text": "x"}}'.encode()).id == digits


@pytest.mark.parametrize(("length", "kept"), [(256, True), (257, False)])
def test_an_id_is_kept_up_to_its_limit(length: int, kept: bool) -> None:
    found = decode(orjson.dumps({"id": "i" * length, "text": "x"}))
    assert found.id == ("i" * length if kept else "texts-3-41")


@pytest.mark.parametrize(("excess", "kept"), [(0, True), (1, False)])
def test_metadata_is_kept_up_to_its_limit_and_flagged_beyond(excess: int, kept: bool) -> None:
    metadata = "m" * (METADATA_LIMIT_BYTES - len('[[""]]') + excess)
    found = decode(orjson.dumps({"text": "x", "metadata": metadata}))
    assert found.metadata == (orjson.dumps(metadata) if kept else None)
    assert found.metadata_dropped is not kept


def test_metadata_nested_deeper_than_can_be_written_is_dropped_and_flagged() -> None:
    found = decode(b'{"text": "x", "metadata": ' + b"[" * 500 + b"]" * 500 + b"}")
    assert found.metadata is None
    assert found.metadata_dropped


def test_a_byte_order_mark_is_ignored() -> None:
    assert decode(b'\xef\xbb\xbf{"text": "x"}').text == "x"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"{}", "no field 'text'"),
        (b'{"text": 5}', "field 'text' is a number, not a string"),
        (b'{"text": true}', "field 'text' is a boolean, not a string"),
        (b'{"text": ["secret"]}', "field 'text' is an array, not a string"),
        (b'{"text": {"a": "secret"}}', "field 'text' is an object, not a string"),
        (b"[]", "the value is an array, not an object"),
        (b'"secret"', "the value is a string, not an object"),
        (b"null", "the value is null, not an object"),
    ],
)
def test_a_wrong_shape_is_named_without_its_content(value: bytes, words: str) -> None:
    error = refusal(value)
    assert (error.reason, str(error)) == ("schema", words)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b" \n",
        b'{"text": null}',
        b'{"text": ""}',
        b'{"text": " \\t\\u00a0\\u3000"}',
        b'{"text": "\\u200b\\u200d\\ufeff"}',
        b'{"text": "\\u0000\\u0007"}',
    ],
)
def test_a_value_without_anything_to_see_is_empty_text(value: bytes | None) -> None:
    assert refusal(value).reason == "empty_text"


@pytest.mark.parametrize(
    "value",
    [
        b'{"text": "\xff"}',
        b'{"text": "\xed\xa0\x80"}',
        b'{"text": "\\ud800"}',
        b'{"text": "\\udc00 x"}',
        b'{"text": "\\ud83dx"}',
        b'{"text": "x", "\\udfff": 1}',
    ],
)
def test_what_no_utf8_output_can_carry_is_bad_encoding(value: bytes) -> None:
    assert refusal(value).reason == "bad_encoding"


@pytest.mark.parametrize(
    "value",
    [
        b"plain words",
        b'{"text": "x"',
        b'{"text": "x"} {"text": "y"}',
        b'{"text": "x", "n": NaN}',
        b'{"text": "x", "n": -Infinity}',
        b'{"text": "x", "n": 1e400}',
        b'{"text": "x", "n": 1' + b"0" * 400 + b"}",
        b'{"text": "x", "n": ' + b"9" * 1_000_000 + b"}",
        b"[" * 10_000,
        b"[" * 10_000 + b"]" * 10_000,
        b'{"text": ' * 10_000 + b'"x"' + b"}" * 10_000,
        b'{"text": "x\x00"}',
    ],
    ids=range(12),
)
def test_bombs_and_broken_json_are_refused_within_50_ms(value: bytes) -> None:
    decoder = Decoder(InputSettings())
    with takes_less_than(0.05), pytest.raises(DecodeError) as caught:
        decoder.decode(record(value))
    assert caught.value.reason == "not_json"


def test_emoji_controls_and_direction_marks_stay_as_they_are() -> None:
    text = "a\x00\u202e\U0001f469\u200d\U0001f680e\u0301" + "\u0301" * 1000
    assert decode(orjson.dumps({"text": text})).text == text


# Repeated keys


@pytest.mark.parametrize(
    "value",
    [
        b'{"text": "shown", "text": "classified"}',
        b'{"text": "shown", "\\u0074ext" : "classified"}',
        b'{"t\\u0065\\u0078t":"shown","text":"classified"}',
        b'{"text": null, "text": "classified"}',
    ],
)
def test_a_repeated_text_is_refused_however_it_is_spelled(value: bytes) -> None:
    error = refusal(value)
    assert (error.reason, str(error)) == ("schema", "a key on the path 'text' is repeated")


def test_a_repeated_key_on_the_way_to_the_text_is_refused() -> None:
    value = b'{"a/b": {"text": "shown"}, "a\\/b": {"text": "classified"}}'
    assert refusal(value, text_path="a/b.text").reason == "schema"


@pytest.mark.parametrize(
    "value",
    [
        b'{"text": "x", "metadata": {"text": "y"}}',
        b'{"text": "x", "metadata": [{"text": 1, "text": 2}]}',
        b'{"text": "\\"text\\": \\"y\\"", "a": "text"}',
        b'\xef\xbb\xbf{"text": "x", "metadata": {"text": "y"}}',
    ],
)
def test_the_same_name_elsewhere_is_fine(value: bytes) -> None:
    assert decode(value).text


@settings(deadline=None)
@given(st.text(min_size=1, max_size=4).filter(lambda s: "." not in s), st.data())
def test_no_spelling_of_a_key_hides_a_second_text(name: str, data: st.DataObject) -> None:
    name = name.encode("utf-8", "replace").decode()

    def spelled() -> str:
        key = json.dumps(name, ensure_ascii=data.draw(st.booleans()))
        if data.draw(st.booleans()):
            units = name.encode("utf-16-be").hex(" ", 2).split()
            key = '"' + "".join(f"\\u{unit}" for unit in units) + '"'
        return key

    value = f'{{{spelled()}: "shown", {spelled()}: "classified"}}'.encode()
    assert refusal(value, text_path=name).reason == "schema"


# Plain text


def test_the_value_is_the_text() -> None:
    found = decode('{"text": "é"}'.encode(), format="text")
    assert (found.text, found.id, found.metadata) == ('{"text": "é"}', "texts-3-41", None)


def test_a_byte_order_mark_is_not_part_of_the_text() -> None:
    assert decode(b"\xef\xbb\xbfx", format="text").text == "x"


def test_bytes_that_are_not_utf8_are_refused_with_their_place() -> None:
    error = refusal(b"abc\xe9", format="text")
    assert (error.reason, str(error)) == ("bad_encoding", "not UTF-8, first at byte 3")


@pytest.mark.parametrize("value", [None, b"", b" \r\n", "\u200b\u2060".encode()])
def test_blank_values_are_empty_text(value: bytes | None) -> None:
    assert refusal(value, format="text").reason == "empty_text"


# CloudEvents


BINARY: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"e-1"),
    ("ce_source", b"/app"),
    ("ce_time", b"2026-01-02T03:04:05.678Z"),
)


@pytest.mark.parametrize(
    ("content_type", "value"),
    [
        (None, b'{"text": "Hello", "metadata": 1}'),
        (b"application/json", b'{"text": "Hello"}'),
        (b"Application/Problem+JSON; charset=utf-8", b'{"text": "Hello"}'),
        (b"TEXT/Plain", b"Hello"),
    ],
)
@pytest.mark.parametrize("name", ["content-type", "Content-Type"])
def test_binary_events_are_read(name: str, content_type: bytes | None, value: bytes) -> None:
    found = decode(value, (*BINARY, (name, content_type)), format="cloudevents")
    assert (found.text, found.id) == ("Hello", "e-1")
    assert found.event_time_ms == 1_767_323_045_678


@pytest.mark.parametrize(
    "members",
    [
        {"data": {"text": "Hello", "metadata": [1]}},
        {"datacontenttype": "application/json", "data": {"text": "Hello"}},
        {"datacontenttype": "text/plain", "data": "Hello"},
        {"data_base64": base64.b64encode(b'{"text": "Hello"}').decode()},
        {"datacontenttype": "text/html", "data_base64": base64.b64encode(b"Hello").decode()},
    ],
)
def test_structured_events_are_read(members: dict[str, Any]) -> None:
    event = {"specversion": "1.0", "id": "e-2", "time": "2026-01-02T04:04:05.678+01:00"}
    found = decode(orjson.dumps(event | members), STRUCTURED, format="cloudevents")
    assert (found.text, found.id) == ("Hello", "e-2")
    assert found.event_time_ms == 1_767_323_045_678


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("content-type", b"application/json"),),
        (("Content-Type", b"application/vnd.app+json; charset=utf-8"),),
        (("traceparent", b"00-1-2-01"),),
    ],
)
@pytest.mark.parametrize(
    "data", [{"data": {"text": "Hello"}}, {"data_base64": "eyJ0ZXh0IjoiSGVsbG8ifQ=="}]
)
def test_a_structured_event_is_known_by_its_value_where_no_header_says_so(
    headers: Headers, data: dict[str, Any]
) -> None:
    event = {"specversion": "1.0", "id": "e-2", "time": "2026-01-02T03:04:05.678Z"} | data
    found = decode(orjson.dumps(event), headers, format="cloudevents")
    assert (found.text, found.id, found.event_time_ms) == ("Hello", "e-2", 1_767_323_045_678)


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ((), b"Hello"),
        ((), b'{"data": {"text": "x"}}'),
        ((), b'["specversion"]'),
        ((("content-type", b"text/plain"),), b'{"specversion": "1.0", "data": {"text": "x"}}'),
        ((("ce_id", b"e-1"),), b'{"specversion": "1.0", "data": {"text": "x"}}'),
    ],
)
def test_what_says_nowhere_that_it_is_an_event_is_refused(headers: Headers, value: bytes) -> None:
    error = refusal(value, headers, format="cloudevents")
    assert error.reason == "schema"
    assert "not a CloudEvent" in str(error)


def test_a_repeated_text_in_structured_data_is_refused() -> None:
    value = b'{"specversion": "1.0", "data": {"text": "a"}, "data": {"text": "b"}}'
    assert refusal(value, STRUCTURED, format="cloudevents").reason == "schema"


@pytest.mark.parametrize("when", ["2026-01-02", "2026-01-02T03:04:05", "soon", 5, None])
def test_a_time_that_is_none_gives_way_to_kafkas(when: object) -> None:
    event = {"specversion": "1.0", "time": when, "data": {"text": "x"}}
    found = decode(orjson.dumps(event), STRUCTURED, format="cloudevents")
    assert found.event_time_ms == 1_700_000_000_000


def test_an_id_or_content_type_that_is_not_utf8_counts_as_absent() -> None:
    headers = (("ce_specversion", b"1.0"), ("ce_id", b"\xff"), ("content-type", b"\xff"))
    assert decode(b'{"text": "x"}', headers, format="cloudevents").id == "texts-3-41"


@pytest.mark.parametrize(
    ("headers", "value", "reason"),
    [
        ((), b'{"text": "x"}', "schema"),
        ((*BINARY, ("content-type", b"image/png")), b"\x89PNG", "schema"),
        ((*BINARY, ("content-type", b"text/plain")), b"\xff", "bad_encoding"),
        ((*BINARY,), None, "empty_text"),
        ((("content-type", b"application/cloudevents-batch+json"),), b"[]", "schema"),
        ((("content-type", b"application/cloudevents+avro"),), b"", "schema"),
        (STRUCTURED, b"[]", "schema"),
        (STRUCTURED, b'{"data": {"text": "x"}}', "schema"),
        (STRUCTURED, b"not json", "not_json"),
        (STRUCTURED, b'{"specversion": "1.0"}', "schema"),
        (STRUCTURED, b'{"specversion": "1.0", "data": {"text": null}}', "empty_text"),
        (STRUCTURED, b'{"specversion": "1.0", "datacontenttype": "text/plain"}', "empty_text"),
        (STRUCTURED, b'{"specversion": "1.0", "datacontenttype": 5}', "schema"),
        (STRUCTURED, b'{"specversion": "1.0", "data": "x"}', "schema"),
        (STRUCTURED, b'{"specversion": "1.0", "data_base64": "!!"}', "schema"),
        (STRUCTURED, b'{"specversion": "1.0", "data_base64": "\\u00e9"}', "schema"),
        (STRUCTURED, b'{"specversion": "1.0", "data_base64": 1}', "schema"),
        (STRUCTURED, b'{"specversion": "1.0", "data_base64": "", "data": 1}', "schema"),
        (
            STRUCTURED,
            b'{"specversion": "1.0", "datacontenttype": "text/plain", "data": {"a": 1}}',
            "schema",
        ),
    ],
    ids=range(19),
)
def test_what_is_no_usable_event_is_refused(
    headers: Headers, value: bytes | None, reason: str
) -> None:
    assert refusal(value, headers, format="cloudevents").reason == reason


# A schema registry's frame


FRAME = b"\x00\x00\x00\x01\x07"


@pytest.mark.parametrize("input_format", ["json", "cloudevents"])
def test_a_frame_is_skipped_where_it_is_configured(input_format: str) -> None:
    headers: Headers = (("ce_specversion", b"1.0"),) if input_format == "cloudevents" else ()
    value = FRAME + b'{"text": "Hello", "metadata": {"n": 1.0}}'
    found = decode(value, headers, format=input_format, framing="confluent")
    assert (found.text, found.metadata) == ("Hello", b'{"n": 1.0}')


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b'{"text": "x"}', "schema"),
        (b"\x01" + FRAME[1:] + b"x" * 11, "schema"),
        (b"\x02" + FRAME[1:] + b'{"text": "x"}', "schema"),
        (b"\x01" + FRAME[1:] + b"x" * 12, "empty_text"),
        (FRAME[:4], "schema"),
        (b"", "schema"),
        (FRAME, "empty_text"),
        (FRAME + b"\x0aavro", "not_json"),
        (None, "empty_text"),
    ],
)
def test_a_frame_that_is_configured_has_to_be_there(value: bytes | None, reason: str) -> None:
    assert refusal(value, framing="confluent").reason == reason


@pytest.mark.parametrize("rest", [b'{"text": "x"}', b"\x0aavro", b""])
@pytest.mark.parametrize("input_format", ["json", "cloudevents"])
def test_a_frame_that_is_not_configured_is_named(input_format: str, rest: bytes) -> None:
    error = refusal(FRAME + rest, format=input_format)
    assert error.reason == ("not_json" if input_format == "json" else "schema")
    assert "begins with byte 0x00 and a schema id (263): a schema registry's frame" in str(error)
    assert "input.framing: confluent" in str(error)


def test_plain_text_comes_in_no_frame() -> None:
    with pytest.raises(ValidationError, match="framing"):
        InputSettings(format="text", framing="confluent")


def test_a_record_that_the_client_could_not_read_is_refused_as_such() -> None:
    with pytest.raises(DecodeError) as caught:
        Decoder(InputSettings()).decode(record(None, undecodable="header key is not UTF-8"))
    assert caught.value.reason == "undecodable_record"
    assert "header key is not UTF-8" in str(caught.value)


def test_every_control_and_space_of_unicode_is_invisible_and_letters_are_not() -> None:
    drawn = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        category = unicodedata.category(char)
        if category in {"Cc", "Zs", "Zl", "Zp"}:
            assert not VISIBLE.search(char), hex(code)
        elif category == "Cf" and not 0x13430 <= code <= 0x1343F and code not in drawn:
            assert not VISIBLE.search(char), hex(code)  # the others are drawn: Arabic number signs
        elif category[0] in "LNPS" and code not in {0x115F, 0x1160, 0x3164, 0xFFA0, 0x2800}:
            assert VISIBLE.search(char), hex(code)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["text", "id", "data"]), inner),
    max_leaves=10,
)
VALUES = (
    st.none()
    | st.binary()
    | st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))
    | JSON_VALUES.map(lambda value: json.dumps(value).encode())
    | st.builds(
        lambda value, at, junk: value[:at] + junk + value[at:],
        JSON_VALUES.map(lambda value: json.dumps({"specversion": "1.0", "data": value}).encode()),
        st.integers(0, 60),
        st.binary(max_size=3),
    )
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["content-type", "CE_SPECVERSION", "ce_id", "ce_time", "x"]),
        st.none()
        | st.binary()
        | st.sampled_from([b"application/cloudevents+json", b"text/plain", b"a/json", b"1.0"])
        | st.datetimes().map(lambda moment: f"{moment.isoformat()}+23:59".encode()),
    ),
    max_size=5,
).map(tuple)


@settings(max_examples=500, deadline=None)
@given(VALUES, HEADERS, st.sampled_from(["json", "text", "cloudevents"]))
def test_any_bytes_are_a_text_or_a_dead_letter_with_a_reason_of_the_closed_set(
    value: bytes | None, headers: Headers, format_: str
) -> None:
    with takes_less_than(0.05):
        found = outcome(value, headers, format=format_)
    if isinstance(found, DecodeError):
        assert found.reason in REASONS
        assert found.__cause__ is None  # it would hold the value
        assert found.__context__ is None
    else:
        assert isinstance(found, TextRecord)
        assert VISIBLE.search(found.text)
        assert 0 < len(found.id) <= ID_LIMIT_CHARS
        assert orjson.loads(orjson.dumps([found.text, found.id, found.metadata]))


@settings(deadline=None)
@given(st.text(min_size=8, alphabet="qxzjkvw"))
def test_no_message_holds_the_content(secret: str) -> None:
    quoted = f'"{secret}"'
    for value in (secret, quoted, f"{{{quoted}: 1}}", f'{{"text": [{quoted}]}}', f"{{{quoted}"):
        assert secret not in str(refusal(value.encode()))
    assert secret not in str(refusal(secret.encode() + b"\xff", format="text"))


@pytest.mark.parametrize(
    "value",
    [
        b'{"text": "' + b"x" * 5_000_000 + b'"}',
        b'{"text": "' + "\u200b".encode() * 1_500_000 + b'"}',
        b'{"text": "' + b'\\"text\\":' * 500_000 + b'"}',
        b'{"text": "x", "metadata": [' + b'{"text":1},' * 90_000 + b"0]}",
    ],
    ids=["long", "zero-width", "quoted keys", "many keys"],
)
def test_five_megabytes_take_bounded_time(value: bytes) -> None:
    with takes_less_than(0.5):
        outcome(value, ())
