"""What ``check`` shows of a record: its fields, never what is in them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.config.settings import Settings
from streamlabel.consumer.core.records import SourceRecord
from streamlabel.consumer.kafka.topics import Topic
from streamlabel.tools import sample_check
from streamlabel.tools.sample_check import check_samples, shape
from tests.doubles import ManualClock
from tests.schema_values import record

SECRET = "s3cret"
MODEL: dict[str, Any] = {
    "backend": "generative",
    "path": "not-loaded",
    "task": {"labels": [{"name": "ham"}, {"name": "spam"}]},
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(SECRET) | st.just(SECRET.encode()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", f"a {SECRET}", "id"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(document=VALUES)
def test_no_content_is_shown(document: Any) -> None:  # noqa: ANN401
    assert SECRET not in shape(document)


def test_fields_have_types_and_lengths() -> None:
    document = {
        "id": 17,
        "text": "Hello",
        "a name with spaces": None,
        "meta": {"user": "me", "tags": ["a", "b"], "deep": {"x": 1}},
        "raw": b"abc",
    }
    assert shape(document) == (
        "id number, text string (5 characters), (a name of 18 characters) null,"
        " meta {user string (2 characters), tags array (2), deep object (1 fields)}, raw bytes (3)"
    )
    assert shape({str(n): n for n in range(30)}).endswith(" and 10 more")
    assert shape("only text") == "string (9 characters)"


@pytest.mark.parametrize(
    ("topics", "said"),
    [
        (2, ["there is no record yet"] * 2),
        (23, [*["there is no record yet"] * 20, "of 3 more topics no record is shown"]),
    ],
)
async def test_each_topic_has_a_line_or_is_counted(
    topics: int, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def empty(*_: object) -> None:
        """No topic has a record."""

    monkeypatch.setattr(sample_check, "_last", empty)
    settings = Settings.model_validate({"model": {"backend": "fake"}})
    present = {f"t{n}": Topic(f"t{n}", 1) for n in range(topics)}
    found = [each async for each in check_samples(settings, topics=present, clock=ManualClock())]
    assert [each.detail for each in found] == said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "from text"),
        ({"text_path": "post.body"}, "from post.body"),
        ({"text_paths": ["title", "body"]}, "from title, body"),
        ({"messages_path": "turns"}, "from turns"),
        ({"format": "text"}, "from the value"),
        ({"format": "cloudevents"}, "from the event's data"),
    ],
)
async def test_it_says_what_was_taken_as_the_text(
    settings: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = b'{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {"text": "x"}}'
    if settings.get("format") != "cloudevents":
        value = b'{"text": "a", "title": "b", "body": "c", "turns": ["d"], "post": {"body": "e"}}'

    async def last(*_: object) -> SourceRecord:
        return record(value)

    monkeypatch.setattr(sample_check, "_last", last)
    is_conversation = "messages_path" in settings
    model = MODEL | {"task": {**MODEL["task"], "conversations": is_conversation}}
    known = Settings.model_validate({"model": model, "input": settings})
    topics = {"texts": Topic("texts", 1)}
    [found] = [each async for each in check_samples(known, topics=topics, clock=ManualClock())]
    assert f"characters {said}; id from " in found.detail
