"""Conversations: an array of turns is one text, of which the last turn is judged."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamlabel.config.kafka import InputSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.core.records import TextRecord
from streamlabel.consumer.decode.decoder import Decoder
from streamlabel.consumer.decode.tree_fields import TreeFields
from streamlabel.errors import DecodeError
from streamlabel.models.core.turns import ROLES, Turn, read_turns, write_turns
from tests.unit.consumer.decode.test_decoder import record

turns = st.lists(
    st.builds(Turn, st.sampled_from(ROLES), st.text(st.characters(codec="utf-8"), max_size=20)),
    min_size=1,
    max_size=5,
)


def decode(document: Any, path: str = "messages") -> TextRecord:  # noqa: ANN401 any JSON
    settings = InputSettings(messages_path=path)
    return Decoder(settings).decode(record(json.dumps(document).encode()))


@given(turns)
def test_turns_are_written_and_read(given_turns: list[Turn]) -> None:
    assert read_turns(write_turns(given_turns)) == tuple(given_turns)


@given(turns, turns)
def test_equal_texts_are_equal_conversations(one: list[Turn], other: list[Turn]) -> None:
    assert (write_turns(one) == write_turns(other)) == (one == other)


@pytest.mark.parametrize("text", ["", "hello", "[", "[1, 2]", '["a"]', "[]" * 2, "[" * 5000])
def test_any_other_text_is_one_turn(text: str) -> None:
    assert read_turns(text) == (Turn("user", text),)


def test_both_ways_of_writing_turns_are_the_same_text() -> None:
    pair = decode({"id": "7", "messages": ["How?", "So."], "metadata": {"a": 1}})
    named = decode(
        {
            "id": "7",
            "messages": [
                {"content": "How?", "role": "user", "name": "Ann"},
                {"role": "assistant", "content": "So."},
            ],
        }
    )
    assert pair.text == named.text
    assert read_turns(pair.text) == (Turn("user", "How?"), Turn("assistant", "So."))
    assert (pair.id, pair.metadata) == ("7", b'{"a": 1}')
    nested = decode({"chat": {"log": ["How?", "So."]}}, "chat.log")
    assert nested.text == pair.text


def test_a_document_of_another_format_is_read_in_the_same_way() -> None:
    settings = InputSettings.model_validate(
        {"format": "avro", "schema_file": "x", "messages_path": "m"}
    )
    found = TreeFields(settings).read({"m": [{"role": "user", "content": "a"}], "id": "1"})
    assert found.text == write_turns([Turn("user", "a")])


@pytest.mark.parametrize(
    ("value", "reason", "said"),
    [
        ({"other": 1}, "schema", "no field 'messages'"),
        ({"messages": "hello"}, "schema", "is not an array of messages"),
        ({"messages": [1]}, "schema", "turn 1 is neither a string nor an object"),
        ({"messages": ["a", None]}, "schema", "turn 2 is neither"),
        ({"messages": [{"role": "system", "content": "a"}]}, "schema", "turn 1 has no role user"),
        ({"messages": [{"role": "user"}]}, "schema", "turn 1 has no content that is a string"),
        (
            {"messages": [{"role": "user", "content": [{}]}]},
            "schema",
            "no content that is a string",
        ),
        ({"messages": None}, "empty_text", "blank"),
        ({"messages": []}, "empty_text", "blank"),
        ({"messages": ["a", " \u200b"]}, "empty_text", "blank"),
    ],
)
def test_what_is_no_conversation_is_a_dead_letter(value: Any, reason: str, said: str) -> None:  # noqa: ANN401
    with pytest.raises(DecodeError, match=said) as caught:
        decode(value)
    assert caught.value.reason == reason


def test_a_repeated_key_in_a_turn_is_refused() -> None:
    value = b'{"messages": [{"role": "user", "content": "a", "content": "b"}]}'
    with pytest.raises(DecodeError, match="is repeated"):
        Decoder(InputSettings(messages_path="messages")).decode(record(value))


@pytest.mark.parametrize(
    ("given_input", "said"),
    [
        ({"text_path": "body"}, "messages_path: it replaces text_path"),
        ({"text_paths": ["a"]}, "messages_path: it replaces text_path"),
        ({"format": "text"}, "messages_path: not supported by format text"),
        ({"format": "cloudevents"}, "messages_path: not supported by format cloudevents"),
    ],
)
def test_settings_that_contradict_messages_are_refused(
    given_input: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        InputSettings.model_validate({"messages_path": "messages"} | given_input)


TASK = {"labels": [{"name": "a"}, {"name": "b"}]}


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        (
            {
                "input": {"messages_path": "m"},
                "model": {"backend": "generative", "path": "x", "task": TASK},
            },
            "input.messages_path: the texts are conversations; set model.task.conversations: true",
        ),
        (
            {
                "model": {
                    "backend": "generative",
                    "path": "x",
                    "task": TASK | {"conversations": True},
                }
            },
            "model.task.conversations: requires conversations in the input; set input.messages",
        ),
        (
            {
                "input": {"topics": [{"name": "x"}, {"name": "y", "messages_path": "m"}]},
                "model": {"backend": "fake"},
            },
            "set messages_path for all topics, or for none",
        ),
        (
            {"input": {"messages_path": "m"}, "model": {"backend": "fake"}},
            "backend fake of model has no conversations",
        ),
        (
            {
                "input": {"messages_path": "m"},
                "model": {
                    "backend": "generative",
                    "path": "x",
                    "task": TASK | {"conversations": True},
                },
                "shadow": {"model": {"backend": "generative", "path": "x", "task": TASK}},
            },
            "set shadow.model.task.conversations: true",
        ),
    ],
)
def test_a_model_takes_what_the_input_gives(tree: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings.model_validate(tree)
