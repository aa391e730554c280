"""Appeals as they are written to their topic."""

import json
from typing import Any

import pytest

from streamlabel.config.console import ConsoleSettings
from streamlabel.console.store.api import Refused
from streamlabel.console.topics.appeals import appeal_of
from streamlabel.consumer.core.records import Position, SourceRecord

SETTINGS = ConsoleSettings(labels={"default": ["spam", "ham"]})


def record(**fields: Any) -> SourceRecord:  # noqa: ANN401 any JSON
    value = {"schema": "streamlabel.appeal/v1", "appeal_id": "a1", "id": "r1"} | fields
    return raw(json.dumps(value).encode())


def raw(value: bytes | None) -> SourceRecord:
    return SourceRecord(Position("appeals", 0, 7), b"key", value, (), 1_000, 0.0)


def test_an_appeal_names_the_review_of_its_record() -> None:
    for task, review_id in ((None, "r1"), ("tone", "tone/r1")):
        found = appeal_of(record(task=task, further="ignored"), SETTINGS)
        assert not isinstance(found, Refused)
        assert (found[0].review_id, found[1]) == (review_id, None)


def test_an_appeal_with_a_text_is_an_item_of_its_own() -> None:
    found = appeal_of(record(text="hello", labels=["spam"]), SETTINGS)
    assert not isinstance(found, Refused)
    item = found[1]
    assert item is not None
    assert (item.record_id, item.text, item.model_labels) == ("r1", "hello", ("spam",))
    assert (item.source.topic, item.source.offset, item.key) == ("appeals", 7, b"key")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (raw(b"not JSON"), "not_json"),
        (raw(None), "not_json"),
        (raw(b"[]"), "version"),
        (record(schema="streamlabel.appeal/v2"), "version"),
        (record(appeal_id=None), "schema"),
        (record(id=""), "schema"),
        (record(id="a\u0000b"), "schema"),
        (record(text="hello"), "schema"),
        (record(text=" ", labels=["spam"]), "no_text"),
        (record(text="hello", labels=["insult"]), "unknown_label"),
        (record(reason="x" * 5_001), "schema"),
    ],
)
def test_what_is_no_appeal_is_refused_with_a_reason(given: SourceRecord, reason: str) -> None:
    found = appeal_of(given, SETTINGS)
    assert isinstance(found, Refused)
    assert found.reason == reason
    assert "hello" not in found.detail
