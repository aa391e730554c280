"""Outputs: every one is what its schema says, fits its topic, and carries what it should."""

import json
import re
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import Headers, Position, SourceRecord, TextRecord
from streamlabel.consumer.decode.decoder import Decoder
from streamlabel.consumer.output.headers import HEADERS_LIMIT_BYTES, HEADERS_LIMIT_ITEMS, forwarded
from streamlabel.consumer.output.message_encoder import MessageEncoder, dead_letter
from streamlabel.consumer.output.schemas import LabelMessage, ReviewMessage, files, schemas
from streamlabel.consumer.output.timings import Timings
from streamlabel.consumer.routing.decision import Decision
from streamlabel.errors import RecordError
from streamlabel.models.core.classifier import ModelIdentity, Prediction
from streamlabel.models.core.labels import LabelSet, ProblemType

ROOT = Path(__file__).parents[4]
LABELS = LabelSet(("fine", "rude", "spam"))
MODEL = ModelIdentity("tiny", "fake", "cpu", "float32", "abc")
TIMINGS = Timings(1_767_323_045_678, 1.23456, 7.5)
PLENTY = 1_000_000
SOURCE = SourceRecord(Position("texts", 2, 7), b"k", b"v", (), 1_700_000_000_000, 1.0)
RECORD = TextRecord(SOURCE, "id-1", "Hello", 1_700_000_000_000, b'{"user": 1}')
PREDICTION = Prediction((0.7, 0.2, 0.1))
DECISION = Decision(
    "review", "fine", ("fine",), 0.7, 0.5, 0.8, ("low_confidence",), PREDICTION.probabilities
)


def encoder(
    labels: LabelSet = LABELS,
    *,
    calibration_id: str | None = None,
    task: str | None = None,
) -> MessageEncoder:
    return MessageEncoder(
        labels=labels,
        model=MODEL,
        calibration_id=calibration_id,
        task=task,
    )


def label(
    record: TextRecord = RECORD, prediction: Prediction = PREDICTION, decision: Decision = DECISION
) -> dict[str, Any]:
    outbound = encoder().label(record, prediction, decision, TIMINGS, topic="labels")
    return parsed(outbound)


def review(record: TextRecord = RECORD, *, limit_bytes: int = PLENTY) -> Outbound:
    return encoder().review(
        record, PREDICTION, DECISION, TIMINGS, topic="review", limit_bytes=limit_bytes
    )


def parsed(outbound: Outbound) -> dict[str, Any]:
    assert outbound.value is not None
    outbound.value.decode()
    message = json.loads(outbound.value)
    assert isinstance(message, dict)
    return message


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schemas()[name])


def with_headers(headers: Headers) -> TextRecord:
    return replace(RECORD, source=replace(SOURCE, headers=headers))


# Labels and reviews


def test_a_label_says_what_was_decided_by_whom_and_about_which_record() -> None:
    decision = replace(DECISION, threshold_set_id="t1")
    outbound = encoder(calibration_id="c1").label(
        RECORD, PREDICTION, decision, TIMINGS, topic="labels"
    )
    assert (outbound.topic, outbound.key, outbound.position) == ("labels", b"k", SOURCE.position)
    assert parsed(outbound) == {
        "schema": "streamlabel.label/v1",
        "id": "id-1",
        "label": "fine",
        "confidence": 0.7,
        "probabilities": {"fine": 0.7, "rude": 0.2, "spam": 0.1},
        "margin": 0.5,
        "route": "review",
        "reasons": ["low_confidence"],
        "truncated": False,
        "model": {
            "name": "tiny",
            "backend": "fake",
            "device": "cpu",
            "digest": "abc",
            "prompt_version": None,
            "calibration_id": "c1",
            "deployment_id": None,
            "threshold_set_id": "t1",
        },
        "source": {
            "topic": "texts",
            "partition": 2,
            "offset": 7,
            "timestamp_ms": 1_700_000_000_000,
        },
        "metadata": {"user": 1},
        "processed_at": "2026-01-02T03:04:05.678Z",
        "timings_ms": {"queue": 1.235, "inference": 7.5},
    }


def test_a_review_is_the_label_plus_text_and_threshold() -> None:
    message = parsed(review())
    assert message.pop("text") == "Hello"
    assert message.pop("threshold") == 0.8
    assert message.pop("schema") == "streamlabel.review/v1"
    expected = label()
    del expected["schema"]
    assert message == expected


def test_a_multi_label_result_lists_the_labels_decided_on() -> None:
    labels = LabelSet(("rude", "spam"), "multi_label")
    decision = Decision("label", "rude", ("rude", "spam"), 0.6, None, 0.5, (), (0.9, 0.6))
    outbound = encoder(labels=labels).label(
        RECORD, Prediction((0.9, 0.6)), decision, TIMINGS, topic="labels"
    )
    assert parsed(outbound)["labels"] == ["rude", "spam"]


def test_calibrated_probabilities_come_with_the_raw_ones() -> None:
    message = label(decision=replace(DECISION, probabilities=(0.6, 0.3, 0.1)))
    assert message["probabilities"] == {"fine": 0.6, "rude": 0.3, "spam": 0.1}
    assert message["raw_probabilities"] == {"fine": 0.7, "rude": 0.2, "spam": 0.1}


def test_what_an_llm_knows_is_there_only_where_it_is_known() -> None:
    message = label(prediction=replace(PREDICTION, off_label_mass=0.25, argmax_is_label=False))
    assert (message["off_label_mass"], message["argmax_is_label"]) == (0.25, False)
    assert "sum_error" not in message


def test_a_result_of_one_of_several_tasks_names_it() -> None:
    outbound = encoder(task="tone").label(RECORD, PREDICTION, DECISION, TIMINGS, topic="labels")
    assert parsed(outbound)["task"] == "tone"


def test_metadata_that_could_not_travel_is_flagged() -> None:
    message = label(replace(RECORD, metadata=None, metadata_dropped=True))
    assert (message["metadata"], message["metadata_dropped"]) == (None, True)


PROBABILITIES = st.none() | st.tuples(*[st.floats(0, 1)] * 3)
TEXT = st.text(st.characters(codec="utf-8"), min_size=1)
RECORDS = st.builds(
    TextRecord,
    st.builds(
        SourceRecord,
        st.builds(Position, TEXT, st.integers(0, 2**31), st.integers(0, 2**62)),
        st.none() | st.binary(),
        st.none() | st.binary(),
        st.lists(st.tuples(TEXT, st.none() | st.binary())).map(tuple),
        st.integers(-1, 2**42),
        st.floats(0, 1e9),
    ),
    TEXT,
    TEXT,
    st.integers(0, 2**42),
    st.none()
    | (st.integers(-(2**53), 2**53) | TEXT | st.dictionaries(TEXT, st.lists(TEXT))).map(
        orjson.dumps
    ),
    st.booleans(),
)
PREDICTIONS = st.builds(
    Prediction,
    PROBABILITIES,
    truncated=st.booleans(),
    off_label_mass=st.none() | st.floats(0, 1),
    argmax_is_label=st.none() | st.booleans(),
    first_token_probability=st.none() | st.floats(0, 1),
    off_label_token=st.none() | TEXT,
    sum_error=st.none() | st.floats(-1e6, 1e6),
    unknown_share=st.none() | st.floats(0, 1),
)
DECISIONS = st.builds(
    Decision,
    st.sampled_from(["label", "review", "copy"]),
    st.none() | st.sampled_from(LABELS.names),
    st.lists(st.sampled_from(LABELS.names), unique=True).map(tuple),
    st.none() | st.floats(0, 1),
    st.none() | st.floats(0, 1),
    st.none() | st.floats(0.01, 1),
    st.lists(st.sampled_from(["low_confidence", "off_label", "audit"]), unique=True).map(tuple),
    PROBABILITIES,
)
TIMINGS_ANY = st.builds(Timings, st.integers(0, 2**42), st.floats(0, 1e7), st.floats(0, 1e7))


@settings(deadline=None)  # the schema's validator is slow; nothing here is timed
@given(
    RECORDS,
    PREDICTIONS,
    DECISIONS,
    TIMINGS_ANY,
    st.sampled_from(["single_label", "multi_label"]),
)
def test_every_encoded_message_is_what_model_and_schema_say(
    record: TextRecord,
    prediction: Prediction,
    decision: Decision,
    timings: Timings,
    kind: ProblemType,
) -> None:
    encode = encoder(LabelSet(LABELS.names, kind), task=None if kind == "single_label" else "a")
    one = encode.label(record, prediction, decision, timings, topic="labels")
    two = encode.review(record, prediction, decision, timings, topic="review", limit_bytes=10**9)
    for outbound, model, name in ((one, LabelMessage, "label"), (two, ReviewMessage, "review")):
        message = parsed(outbound)
        validator(name).validate(message)
        again = model.model_validate_json(outbound.value or b"")
        # Equal in both directions: nothing in it that the model does not name.
        assert again.model_dump(mode="json", by_alias=True, exclude_unset=True) == message
        assert (outbound.key, outbound.position) == (record.source.key, record.source.position)
    assert parsed(two)["text"] == record.text
    assert "text" not in parsed(one)


@pytest.mark.parametrize("name", sorted(files()))
def test_the_schemas_in_docs_are_those_of_the_models(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == files()[name], "run scripts/generate"


def test_the_examples_in_docs_are_what_goes_in_and_out() -> None:
    docs = (ROOT / "docs" / "records.md").read_text(encoding="utf-8")
    examples = dict(re.findall(r"^```json (\w+)\n(.*?)^```$", docs, re.DOTALL | re.MULTILINE))
    assert set(examples) == {"input", "label", "review"}
    source = replace(SOURCE, value=examples["input"].encode())
    record = Decoder(InputSettings()).decode(source)
    for name, model in (("label", LabelMessage), ("review", ReviewMessage)):
        message = json.loads(examples[name])
        validator(name).validate(message)
        again = model.model_validate_json(examples[name])
        assert again.model_dump(mode="json", by_alias=True, exclude_unset=True) == message
        assert (again.id, again.metadata) == (record.id, orjson.loads(record.metadata or b"null"))
    for name, _ in dead(replace(SOURCE, value=b"x" * 5000), limit_bytes=2000)[0].headers:
        assert f"| `{name}` |" in docs


# Reviews that are too large


def test_a_review_that_just_fits_keeps_its_text_and_one_byte_less_shortens_it() -> None:
    size_bytes = review().size_bytes
    assert "text_truncated" not in parsed(review(limit_bytes=size_bytes))
    long = replace(RECORD, text="Hello " * 100)
    size_bytes = review(long).size_bytes
    message = parsed(review(long, limit_bytes=size_bytes - 1))
    assert message["text_truncated"]
    assert long.text.startswith(message["text"])


@settings(deadline=None)
@given(TEXT.map(lambda text: text * 50), st.integers(700, 2500))
def test_a_shortened_text_is_the_longest_beginning_that_fits(text: str, limit_bytes: int) -> None:
    record = replace(RECORD, text=text)
    outbound = review(record, limit_bytes=limit_bytes)
    message = parsed(outbound)
    assert text.startswith(message["text"])
    if "text_truncated" in message:
        assert outbound.size_bytes <= limit_bytes
        longer = text[: len(message["text"]) + 1]
        assert (
            outbound.size_bytes + len(orjson.dumps(longer)) - len(orjson.dumps(message["text"]))
            > limit_bytes
        )
    elif outbound.size_bytes > limit_bytes:
        assert review(replace(record, text=text[:1])).size_bytes + 22 > limit_bytes


def test_a_review_of_which_no_character_fits_is_left_for_the_dead_letter() -> None:
    outbound = review(limit_bytes=300)
    assert outbound.size_bytes > 300
    assert parsed(outbound)["text"] == "Hello"


# Headers


def test_trace_context_and_the_producers_headers_travel_and_the_values_description_does_not() -> (
    None
):
    headers = (
        ("traceparent", b"00-1-2-01"),
        ("Content-Type", b"application/cloudevents+json"),
        ("content-encoding", b"x"),
        ("ce_id", b"1"),
        ("CE_TYPE", b"t"),
        ("streamlabel-error-reason", b"schema"),
        ("app", None),
        ("app", b"\xff"),
    )
    assert review(with_headers(headers)).headers == (
        ("content-type", b"application/json"),
        ("traceparent", b"00-1-2-01"),
        ("app", None),
        ("app", b"\xff"),
    )


@pytest.mark.parametrize("excess", [0, 1, 5000])
def test_headers_are_kept_up_to_their_number(excess: int) -> None:
    headers = tuple((f"h{i}", b"x") for i in range(HEADERS_LIMIT_ITEMS + excess))
    kept = forwarded(headers)[1:]
    assert kept[:HEADERS_LIMIT_ITEMS] == headers[:HEADERS_LIMIT_ITEMS]
    flag = (("streamlabel-headers-dropped", str(excess).encode()),) if excess else ()
    assert kept[HEADERS_LIMIT_ITEMS:] == flag


@pytest.mark.parametrize("excess", [0, 1])
def test_headers_are_kept_up_to_their_bytes(excess: int) -> None:
    headers = (("a", b"x" * (HEADERS_LIMIT_BYTES - 3 + excess)), ("b", b"y"))
    flag = (("a", headers[0][1]), ("streamlabel-headers-dropped", b"1"))
    assert forwarded(headers)[1:] == (flag if excess else headers)


def test_trace_context_survives_any_number_of_headers() -> None:
    headers = (*((f"h{i}", b"x") for i in range(5000)), ("traceparent", b"00"))
    assert ("traceparent", b"00") in forwarded(headers)


# Dead letters

WHY = RecordError("schema", "no field 'text'", 2)


def dead(
    source: SourceRecord, *, limit_bytes: int = PLENTY, error: RecordError = WHY
) -> tuple[Outbound, dict[str, bytes | None]]:
    outbound = dead_letter(
        source,
        topic="dead-letters",
        error=error,
        version="1.2.3",
        limit_bytes=limit_bytes,
    )
    return outbound, dict(outbound.headers)


def test_a_dead_letter_is_the_record_byte_for_byte_and_says_why() -> None:
    headers: Headers = (("ce_id", b"1"), ("x", None), ("x", b"\xff"))
    outbound, _ = dead(replace(SOURCE, value=b"\xff\x00", headers=headers))
    assert (outbound.topic, outbound.key, outbound.value) == ("dead-letters", b"k", b"\xff\x00")
    assert outbound.headers == (
        *headers,
        ("streamlabel-error-reason", b"schema"),
        ("streamlabel-error-class", b"DecodeError"),
        ("streamlabel-error-message", b"no field 'text'"),
        ("streamlabel-source-topic", b"texts"),
        ("streamlabel-source-partition", b"2"),
        ("streamlabel-source-offset", b"7"),
        ("streamlabel-source-timestamp-ms", b"1700000000000"),
        ("streamlabel-attempts", b"2"),
        ("streamlabel-version", b"1.2.3"),
    )


def test_an_undecodable_record_leaves_its_coordinates() -> None:
    source = replace(SOURCE, key=None, value=None, undecodable="header")
    outbound, headers = dead(source, error=RecordError("undecodable_record", "header"))
    assert (outbound.key, outbound.value) == (None, None)
    assert headers["streamlabel-source-offset"] == b"7"


def test_a_value_is_kept_up_to_the_limit_and_replaced_by_size_and_hash_beyond() -> None:
    source = replace(SOURCE, value=b"x" * 5000, headers=(("a", b"b"),))
    size_bytes = dead(source)[0].size_bytes
    assert dead(source, limit_bytes=size_bytes)[0].value == source.value
    outbound, headers = dead(source, limit_bytes=size_bytes - 1)
    assert (outbound.key, outbound.value, headers["a"]) == (b"k", None, b"b")
    digest = sha256(b"x" * 5000).hexdigest()
    assert headers["streamlabel-value-omitted"] == f"size=5000; sha256={digest}".encode()


def test_too_many_headers_go_before_the_value_does() -> None:
    source = replace(SOURCE, headers=tuple((f"h{i}", b"x" * 100) for i in range(5000)))
    outbound, headers = dead(source, limit_bytes=100_000)
    assert outbound.value == b"v"
    assert headers["streamlabel-headers-dropped"] == b"4936"


@settings(deadline=None)
@given(
    st.builds(
        replace,
        st.just(replace(SOURCE, position=Position("t" * 249, 2**31 - 1, 2**63 - 1))),
        key=st.none() | st.binary() | st.just(b"k" * 5000),
        value=st.none() | st.binary() | st.just(b"v" * 5000),
        headers=st.lists(st.tuples(TEXT, st.none() | st.binary()))
        .map(tuple)
        .flatmap(lambda headers: st.sampled_from([headers, headers * 100])),
    ),
    st.integers(1024, 8000),
    st.text(),
)
def test_every_dead_letter_fits_the_smallest_topic_and_keeps_its_position(
    source: SourceRecord, limit_bytes: int, message: str
) -> None:
    error = RecordError("output_too_large", message * 100)
    outbound, headers = dead(source, limit_bytes=limit_bytes, error=error)
    assert outbound.size_bytes <= limit_bytes
    assert headers["streamlabel-source-offset"] == b"9223372036854775807"
    assert headers["streamlabel-error-class"] == b"OutputRefusedError"
    assert (outbound.value is None) == (
        source.value is None or "streamlabel-value-omitted" in headers
    )
    assert (outbound.key is None) == (source.key is None or "streamlabel-key-omitted" in headers)


def test_a_limit_that_nothing_fits_gives_the_smallest_dead_letter() -> None:
    outbound, headers = dead(replace(SOURCE, headers=(("a", b"b"),)), limit_bytes=0)
    assert (outbound.key, outbound.value) == (None, None)
    assert headers["streamlabel-headers-dropped"] == b"1"
    assert headers["streamlabel-error-reason"] == b"schema"
