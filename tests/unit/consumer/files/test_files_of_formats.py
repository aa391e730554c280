"""Files are text or JSON in UTF-8, whatever format the topics have."""

import asyncio

import pytest

from streamlabel.api import classify
from streamlabel.config.kafka import InputSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.files.feeding import Feeder
from streamlabel.consumer.files.text_files import settings_of
from streamlabel.consumer.registry.opening import open_decoder
from streamlabel.errors import ConfigError
from tests.schema_values import change, record

REGISTRY = {"url": "http://localhost:1"}
FORMATS = [
    {"format": "avro", "framing": "confluent", "registry": REGISTRY},
    {"format": "protobuf", "schema_file": "x", "message": "a.B"},
    {"format": "json_schema", "framing": "confluent", "registry": REGISTRY},
    {"format": "json", "charset": "utf-16", "content_encoding": "header"},
    {"format": "json", "double_encoded": True},
]


@pytest.mark.parametrize("values", FORMATS)
def test_lines_of_a_file_are_json(values: dict[str, object]) -> None:
    settings = settings_of("jsonl", InputSettings.model_validate(values))
    assert open_decoder(settings).decode(record(b'{"text": "hello"}')).text == "hello"


def test_lines_of_a_file_may_be_changes() -> None:
    given = {"format": "debezium", "framing": "confluent", "registry": REGISTRY}
    settings = settings_of("jsonl", InputSettings.model_validate(given))
    decoder = open_decoder(settings)
    asyncio.run(decoder.prefetch(()))
    assert decoder.decode(record(change({"text": "hello"}))).text == "hello"


@pytest.mark.parametrize("values", FORMATS)
def test_no_file_is_sent_to_a_topic_of_another_format(values: dict[str, object]) -> None:
    settings = InputSettings.model_validate(values)
    with pytest.raises(ConfigError, match="are made by other programs; write them with your own"):
        Feeder("jsonl", settings, None)


def test_results_in_a_program_are_read_whatever_the_topics_have() -> None:
    settings = Settings.model_validate(
        {
            "model": {"backend": "fake"},
            "input": FORMATS[0],
            "output": {"format": "avro", "registry": REGISTRY, "key": "id"},
        }
    )
    [result] = classify(settings, ["hello"])
    assert result.label is not None
