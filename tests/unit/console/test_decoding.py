"""Which records of the review topic become items, and why others do not."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlabel.config.console import ConsoleSettings
from streamlabel.console.store.api import Refused
from streamlabel.console.store.items import Arrival
from streamlabel.console.topics.decoding import decoded
from streamlabel.console.topics.sending import fitted
from streamlabel.consumer.core.records import Position, SourceRecord
from testing.console.review_record import review

SETTINGS = ConsoleSettings()


def read(
    value: dict[str, Any] | bytes | None, settings: ConsoleSettings = SETTINGS
) -> Arrival | Refused:
    raw = json.dumps(value).encode() if isinstance(value, dict) else value
    return decoded(SourceRecord(Position("review", 0, 5), b"key", raw, (), 9, 0.0), settings)


def arrival(value: dict[str, Any], settings: ConsoleSettings = SETTINGS) -> Arrival:
    found = read(value, settings)
    assert isinstance(found, Arrival), found
    return found


def test_a_review_record_becomes_an_item_with_all_that_a_verdict_needs() -> None:
    settings = ConsoleSettings(thread_path="thread.id")
    found = arrival(
        review(prediction_set=["spam", "ham"], raw_probabilities={"spam": 0.7}), settings
    )
    assert (found.review_id, found.record_id, found.task) == ("a", "a", None)
    assert found.model_labels == ("spam",)
    assert found.prediction_set == ("spam", "ham")
    assert found.raw_probabilities == {"spam": 0.7}
    assert (found.purpose, found.review_probability) == ("review", 1.0)
    assert (found.deployment_id, found.model_digest) == ("d1", "m1")
    assert (found.calibration_id, found.threshold_set_id) == ("c1", "t1")
    assert (found.source.topic, found.source.partition, found.source.offset) == ("texts", 1, 2)
    assert (found.key, found.thread) == (b"key", "7")


@pytest.mark.parametrize("keys", [None, []])
def test_a_record_without_keys_gets_one_of_its_text(keys: list[str] | None) -> None:
    found = arrival(review(near_duplicate_keys=keys))
    assert found.near_keys is None
    assert found.near_key is not None


def test_a_record_with_keys_keeps_those_alone_and_not_too_many() -> None:
    found = arrival(review(near_duplicate_keys=["a", "b"]))
    assert (found.near_keys, found.near_key) == (("a", "b"), None)
    many = [str(number) for number in range(100_000)]
    assert arrival(review(near_duplicate_keys=many)).near_keys == tuple(many[:16])


def test_an_audit_record_is_decided_blind_and_has_its_probability() -> None:
    found = arrival(review(reasons=["audit"], route="copy", audit_probability=0.01))
    assert (found.purpose, found.review_probability) == ("audit", 0.01)


def test_the_task_is_a_part_of_the_review_id() -> None:
    assert arrival(review(task="tone")).review_id == "tone/a"


def test_several_labels_and_none_are_kept() -> None:
    assert arrival(review(label=None, labels=[])).model_labels == ()
    assert arrival(review(labels=["a", "b"])).model_labels == ("a", "b")
    unanswered = review(label=None, labels=[], confidence=None, probabilities=None, threshold=None)
    assert arrival(unanswered).model_labels is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "not_json"),
        (b"", "not_json"),
        (b"\xff", "not_json"),
        (b'{"text": "\\ud800"}', "not_json"),
        (b"[1]", "schema"),
        (review(schema="streamlabel.review/v2"), "version"),
        (review(schema=...), "version"),
        (review(schema=7), "version"),
        (review(text=...), "no_text"),
        (review(text=" \n"), "no_text"),
        (review(text=None), "no_text"),
        (review(id=7), "schema"),
        (review(id="nul \x00"), "schema"),
        (review(id="a" * 1001), "schema"),
        (review(confidence=2), "schema"),
        (review(reasons=["of a later version"]), "schema"),
        (review(source=...), "schema"),
    ],
)
def test_what_cannot_be_an_item_is_refused_with_a_reason(
    value: dict[str, Any] | bytes | None, reason: str
) -> None:
    found = read(value)
    assert isinstance(found, Refused)
    assert found.reason == reason
    assert found.position == Position("review", 0, 5)
    assert found.detail


def test_labels_that_the_settings_do_not_know_are_refused() -> None:
    settings = ConsoleSettings(labels={"default": ["ham"], "tone": ["spam"]})
    found = read(review(), settings)
    assert isinstance(found, Refused)
    assert (found.reason, found.detail) == ("unknown_label", "console.labels has no spam")
    assert arrival(review(task="tone"), settings).task == "tone"
    assert arrival(review(task="other"), settings).task == "other"


def test_a_refusal_never_quotes_the_text() -> None:
    for change in ({"confidence": 2}, {"schema": "x"}, {"metadata": ...}, {"id": "\x00"}):
        found = read(review(text="a secret text", **change))
        assert isinstance(found, Refused)
        assert "secret" not in found.detail


@given(st.binary(max_size=200))
def test_any_bytes_have_one_outcome(value: bytes) -> None:
    assert isinstance(read(value), Refused)


@settings(deadline=None, max_examples=50)  # pydantic builds many errors
@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())
            for name in review()
        },
    )
)
def test_any_value_of_a_field_has_one_outcome(changes: dict[str, Any]) -> None:
    assert isinstance(read(review(**changes)), Arrival | Refused)


def test_a_verdict_that_is_too_large_loses_its_probabilities_first() -> None:
    value = json.dumps({"labels": ["a"], "model_probabilities": {"a": 1}, "raw_probabilities": {}})
    raw = value.encode()
    assert fitted(raw, len(raw)) == raw
    assert fitted(None, 1) is None
    shorter = fitted(raw, 70)
    assert shorter is not None
    assert json.loads(shorter) == {
        "labels": ["a"],
        "model_probabilities": None,
        "raw_probabilities": None,
    }
