"""What is documented as copied comes out as it went in: metadata, id, key and headers."""

import json
import re
import time
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import Headers, Position, SourceRecord
from streamlabel.consumer.decode.decoder import Decoder
from streamlabel.consumer.decode.json_fields import METADATA_LIMIT_BYTES
from streamlabel.consumer.files.feeding import Feeder
from streamlabel.consumer.output.message_encoder import MessageEncoder
from streamlabel.consumer.output.timings import Timings
from streamlabel.consumer.routing.decision import Decision
from streamlabel.errors import DecodeError
from streamlabel.models.core.classifier import ModelIdentity, Prediction
from streamlabel.models.core.labels import LabelSet

ENCODER = MessageEncoder(
    labels=LabelSet(("a", "b")), model=ModelIdentity("tiny", "fake", "cpu", "none", "abc")
)
PREDICTION = Prediction((0.5, 0.5), (0.0, 0.0))
DECISION = Decision("copy", "a", ("a",), 0.5, 0.0, 0.8, ("low_confidence",), (0.5, 0.5))


class Number(NamedTuple):
    """A number as it is written."""

    written: str


class Pairs(NamedTuple):
    """An object with every key that is written, repeated ones too, in their order."""

    items: tuple[tuple[str, Any], ...]


def read(value: bytes | str) -> Any:  # noqa: ANN401 any JSON value
    """Parse without losing anything: two values are equal only if nothing was changed."""
    return json.loads(
        value,
        parse_int=Number,
        parse_float=Number,
        object_pairs_hook=lambda pairs: Pairs(tuple(pairs)),
    )


def member(document: Pairs, name: str) -> Any:  # noqa: ANN401 any JSON value
    """Return the value of a key; of repeated ones the last."""
    return [value for key, value in document.items if key == name][-1]


def outputs(value: bytes, headers: Headers = (), **input_settings: str) -> list[Outbound]:
    source = SourceRecord(Position("texts", 0, 7), b"\xffkey", value, headers, 0, 0.0)
    record = Decoder(InputSettings(**input_settings)).decode(source)
    timings = Timings(0, 0.0, 0.0)
    return [
        ENCODER.label(record, PREDICTION, DECISION, timings, topic="labels"),
        ENCODER.review(
            record, PREDICTION, DECISION, timings, topic="review", limit_bytes=1_000_000
        ),
    ]


@pytest.mark.parametrize(
    "metadata",
    [
        "12345678901234567890",
        "123456789012345678901234567890",
        "-9223372036854775809",
        "1.0",
        "1.10",
        "1E5",
        "1e+5",
        "-0",
        "-0.0",
        "0.1000000000000000055511151231257827",
        "1e-400",
        '"\\u0041\\ud83d\\ude00\\/"',
        '{"a": 1, "a": 2}',
        '{"b": 1, "a": [1.50, {"n": 1e2, "deep": [[[[{"x": -0.0}]]]]}]}',
        '[1.50,\n  {"a":\t1E2}\r\n]',
        "{}",
        '""',
    ],
)
@pytest.mark.parametrize(
    "document",
    [
        '{"text": "x", "metadata": %s}',
        '{"metadata":%s,"text":"x","more":{"metadata":1}}',
        '{"text": "x", "metadata": 1, "meta\\u0064ata": %s , "z": [{"metadata": 2}]}',
        '\ufeff {"text": "\\"metadata\\": 5", "metadata"\n:\n%s\n}',
        '{"\\u00001 metadata": 0, "text": "x", "metadata": 3, "metadata": %s}',
    ],
)
def test_metadata_is_copied_as_it_is_written(metadata: str, document: str) -> None:
    for outbound in outputs((document % metadata).encode()):
        assert outbound.value is not None
        assert member(read(outbound.value), "metadata") == read(metadata)
        assert b"\n" not in outbound.value, "a line of a file holds a whole output"


def test_metadata_of_a_structured_event_is_copied_as_it_is_written() -> None:
    value = b'{"specversion":"1.0","metadata":1,"data":{"text":"x","metadata":{"n":1.10}}}'
    headers: Headers = (("content-type", b"application/cloudevents+json"),)
    for outbound in outputs(value, headers, format="cloudevents"):
        assert b'"metadata":{"n":1.10}' in (outbound.value or b"")


NUMBERS = st.from_regex(re.compile(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?"))
SPACE = st.text(" \t\r\n", max_size=2)
NAMES = st.sampled_from(
    ["metadata", "text", "m", 'quo"te', "back\\slash", "\x00", "é", "😀", "a/b"]
)


def spelled(text: str, as_ascii: bool) -> str:
    return json.dumps(text, ensure_ascii=as_ascii)


STRINGS = st.builds(spelled, st.text(st.characters(codec="utf-8")) | NAMES, st.booleans())
KEYS = st.builds(spelled, NAMES, st.booleans())


def joined(parts: list[str], space: str, brackets: str) -> str:
    return brackets[0] + space + f"{space},{space}".join(parts) + space + brackets[1]


RAW_JSON = st.recursive(
    st.sampled_from(["null", "true", "false"]) | NUMBERS.map(str.strip) | STRINGS,
    lambda inner: (
        st.builds(joined, st.lists(inner, max_size=4), SPACE, st.just("[]"))
        | st.builds(
            joined,
            st.lists(st.builds("{}{}:{}".format, KEYS, SPACE, inner), max_size=4),
            SPACE,
            st.just("{}"),
        )
    ),
    max_leaves=12,
)


MEMBERS = st.lists(st.tuples(KEYS, RAW_JSON), max_size=3)


@settings(deadline=None, max_examples=400)
@given(NAMES, RAW_JSON, MEMBERS, MEMBERS, st.data())
def test_any_metadata_comes_out_as_it_went_in_or_is_refused(
    name: str,
    metadata: str,
    before: list[tuple[str, str]],
    after: list[tuple[str, str]],
    data: st.DataObject,
) -> None:
    key = spelled(name, data.draw(st.booleans()))
    others = [pair for pair in after if json.loads(pair[0]) != name]
    pairs = [*before, (key, metadata), *others, ('"the text"', '"x"')]
    space = data.draw(SPACE)
    value = joined([f"{key}:{space}{value}" for key, value in pairs], space, "{}").encode()
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:  # a number beyond a double
        with pytest.raises(DecodeError, match="JSON"):
            outputs(value, text_path="the text", metadata_path=name)
        return
    for outbound in outputs(value, text_path="the text", metadata_path=name):
        assert member(read(outbound.value or b""), "metadata") == read(metadata)
        assert outbound.key == b"\xffkey"


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(min_size=1).filter(
                lambda n: not n.lower().startswith(("ce_", "streamlabel-", "content-"))
            ),
            st.none() | st.binary(),
        ),
        max_size=8,
    ),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=256).filter(str.strip),
)
def test_headers_and_id_come_out_as_they_went_in(
    headers: list[tuple[str, bytes | None]], identity: str
) -> None:
    value = json.dumps({"id": identity, "text": "x"}).encode()
    for outbound in outputs(value, tuple(headers)):
        assert outbound.headers[1:] == tuple(headers)
        assert json.loads(outbound.value or b"")["id"] == identity


@pytest.mark.parametrize(
    ("metadata", "is_kept"),
    [
        ("[" + "1.50," * 2000 + "1]", True),
        ("[" + "1.50, " * 3000 + "1]", True),  # too long only by its white space
        (json.dumps("é" * 5000), True),  # too long only by its escapes
        ("[" + "1." + "0" * METADATA_LIMIT_BYTES + "]", False),
        ("{" + '"a":1,' * 5000 + '"a":1}', False),
    ],
)
def test_what_is_too_long_as_written_is_shortened_without_loss_or_left_out(
    metadata: str, is_kept: bool
) -> None:
    for outbound in outputs(f'{{"text":"x","metadata":{metadata}}}'.encode()):
        copied = read(outbound.value or b"")
        assert member(copied, "metadata") == (read(metadata) if is_kept else None)
        assert is_kept or member(copied, "metadata_dropped")


@pytest.mark.parametrize(
    "value",
    [
        b'{"text":"x",' + b'"metadata":1,' * 40_000 + b'"metadata":2}',
        b'{"text":"x","metadata":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"text":"x","metadata":[' + b'{"a":[[[[1]]]]},' * 1_000 + b"1]}",
        b'{"text":"x","metadata":{' + b'"a":[[[[1]]]],' * 70_000 + b'"a":1}}',
        b'{"text":"x","metadata":{' + b'"a\\u0041":1,' * 80_000 + b'"a":1}}',
        b'{"text":"x","metadata":[' + b" " * 1_000_000 + b"1]}",
        b'{"text":"' + b'\\"metadata\\":' * 70_000 + b'","metadata":1.0}',
    ],
    ids=range(7),
)
def test_no_document_makes_copying_take_long(value: bytes) -> None:
    started_s = time.thread_time()
    outputs(value)
    assert time.thread_time() - started_s < 2, "60 ms on an idle machine; quadratic takes minutes"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("123456789012345678901234567890", b"123456789012345678901234567890"),
        ("1.10", b"1.10"),
        ("true", b"true"),
        ('"a\\u0062"', b"ab"),
        ("null", None),
        ("[1]", None),
    ],
)
def test_a_key_from_a_file_is_what_is_written_there(key: str, expected: bytes | None) -> None:
    feeder = Feeder("jsonl", InputSettings(), "user.n")
    value = f'{{"user": {{"n": {key}}}, "text": "x"}}'.encode()
    source = SourceRecord(Position("file", 0, 1), None, value, (), 0, 0.0)
    assert feeder.record(source) == (expected, value)
