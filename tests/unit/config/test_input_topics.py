"""Input topics by name and pattern, each with settings of its own."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamlabel.config.kafka import InputSettings
from streamlabel.config.settings import Settings

AVRO = {"format": "avro", "framing": "confluent"}
REGISTRY = {"url": "http://registry"}
NAMES = st.lists(
    st.sampled_from(["a", "b", "chat-1", "chat-2", "chat-x", "labels", "__x"]), unique=True
)


def settings(*topics: Any, **section: Any) -> InputSettings:  # noqa: ANN401
    return InputSettings.model_validate({**section, "topics": list(topics)})


def test_each_topic_has_its_own_settings_and_otherwise_those_of_the_section() -> None:
    found = settings(
        {"name": "avro", **AVRO},
        {"name": "plain", "format": "text"},
        {"name": "other", "text_path": "body", "id_path": None},
        {"name": "files", "format": "protobuf", "schema_file": "post.pb", "message": "Post"},
        {"pattern": "chat-.*"},
        registry=REGISTRY,
        text_paths=["title", "body"],
        id_path="key",
    )
    avro, plain, other, files, chat = map(
        found.of_topic, ["avro", "plain", "other", "files", "chat-7"]
    )
    assert (avro.format, avro.registry.url, avro.text_paths) == (
        "avro",
        "http://registry",
        ["title", "body"],
    )
    # what does not apply to a format is left out
    assert (plain.format, plain.registry.url, plain.text_paths) == ("text", None, [])
    assert (other.text_path, other.text_paths, other.id_path) == ("body", [], None)
    assert (files.framing, files.message, files.id_path) == ("none", "Post", "key")
    assert chat.text_paths == ["title", "body"]
    assert found.of_topic("unknown") == found


def test_a_topic_that_is_read_without_frames_leaves_those_of_the_section() -> None:
    found = settings(
        {"name": "a"},
        {"name": "b", "framing": "none", "schema_file": "b.avsc"},
        {"name": "c", "schema_file": "c.avsc"},
        registry=REGISTRY,
        **AVRO,
    )
    assert found.of_topic("a").framing == "confluent"
    for name in "bc":
        own = found.of_topic(name)
        assert (own.framing, own.registry.url, str(own.schema_file)) == (
            "none",
            None,
            f"{name}.avsc",
        )


@pytest.mark.parametrize(
    ("topic", "problem"),
    [
        ({}, "name, pattern: set one of the two"),
        ({"name": "a", "pattern": "b"}, "name, pattern: set one of the two"),
        ({"pattern": "("}, "not a regular expression"),
        ({"name": "a", "decoder": {}}, "no settings of its own"),
        ({"name": "a", **AVRO}, "topics: a: registry.url: required by framing confluent"),
        ({"pattern": "a", **AVRO}, "topics: pattern a: registry.url: required"),
        ({"name": "a", "format": "text", "message": "A"}, "topics: a: message: not supported"),
        ({"name": "a", "format": "text", "framing": "glue"}, "topics: a: framing: glue"),
        ({"name": "a", "text_default": "x"}, "topics: a: text_default: requires text_paths"),
    ],
)
def test_what_does_not_fit_is_named_with_its_topic(topic: Any, problem: str) -> None:  # noqa: ANN401
    with pytest.raises(ValidationError) as raised:
        settings(topic)
    assert problem in str(raised.value)


def test_settings_survive_a_round_trip() -> None:
    found = settings(
        {"name": "a", **AVRO},
        {"pattern": "b.*", "tasks": ["x"], "text_path": "body"},
        registry=REGISTRY,
        metadata_path="about",
    )
    again = InputSettings.model_validate(found.model_dump(mode="json"))
    assert again == found
    assert again.of_topic("b1").metadata_path == "about"


@given(present=NAMES, not_ours=NAMES)
def test_a_pattern_matches_what_is_there_and_not_ours(
    present: list[str], not_ours: list[str]
) -> None:
    found = settings(
        {"pattern": "chat-[0-9]", "weight": 2}, {"pattern": ".*", "weight": 3}, {"name": "a"}
    )
    weights = found.weights_of(present, not_ours=not_ours)
    assert found.topic == "a"
    assert weights.pop("a") == 1.0  # named, so it should be there
    assert weights.keys() == {
        name for name in present if name not in not_ours and name not in {"a", "__x"}
    }
    for name, weight in weights.items():
        assert weight == (2 if name in {"chat-1", "chat-2"} else 3)  # the first that matches
    expanded = found.expanded(present, not_ours=not_ours)
    assert not expanded.has_patterns
    assert dict(expanded.weights) == {"a": 1.0, **weights}


def test_a_pattern_matches_whole_names() -> None:
    found = settings({"pattern": "chat"})
    assert found.weights_of(["chat", "chat-1", "my-chat"], not_ours=()) == {"chat": 1.0}
    assert found.weights == {}


def test_a_task_of_a_topic_exists() -> None:
    fake = {"model": {"backend": "fake"}}
    section = {"topics": [{"name": "a", "tasks": ["tone", "spam"]}]}
    with pytest.raises(ValidationError, match="a: tasks: there is no task spam; the tasks are to"):
        Settings.model_validate({"input": section, "tasks": {"tone": fake}})
    with pytest.raises(ValidationError, match="there is no task tone; there are no tasks"):
        Settings.model_validate({"input": section, **fake})


def test_no_pattern_matches_topics_of_this_service() -> None:
    values = {
        "input": {"topics": [{"name": "a"}, {"pattern": ".*"}]},
        "model": {"backend": "fake"},
        "control": {"topic": "orders", "key": "0123456789abcdef"},
    }
    found = Settings.model_validate(values)
    ours = {"labels", "review", "dead-letters", "verdicts", "orders"}
    assert found.own_topics == ours
    assert found.input.weights_of([*ours, "b"], not_ours=found.own_topics).keys() == {"a", "b"}
