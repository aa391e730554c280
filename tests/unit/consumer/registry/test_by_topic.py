"""Input topics of several formats: each record is read as its own topic says."""

import json
from pathlib import Path
from typing import Any

import pytest

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.core.records import Position, SourceRecord, TextRecord
from streamlabel.consumer.registry.by_topic import TopicDecoder
from streamlabel.consumer.registry.opening import open_decoder
from streamlabel.errors import ConfigError, DecodeError
from tests.doubles import ManualClock
from tests.registry_server import RegistryServer, schema
from tests.schema_values import AVRO, POST, avro, framed


def at(topic: str, value: bytes) -> SourceRecord:
    return SourceRecord(Position(topic, 0, 0), None, value, (), 0, 0.0)


async def test_each_record_is_read_as_its_topic_says(tmp_path: Path) -> None:
    (tmp_path / "post.avsc").write_text(AVRO)
    topics: list[dict[str, Any]] = [
        {"name": "files", "format": "avro", "schema_file": tmp_path / "post.avsc"},
        {"name": "bodies", "text_path": "body"},
        {"pattern": "posts-.*", "format": "avro", "framing": "confluent"},
        {"pattern": "lines-.*", "format": "text"},
    ]
    with RegistryServer() as server:
        server.answers |= {"/schemas/ids/7": schema(AVRO)}
        given = InputSettings.model_validate({"topics": topics, "registry": {"url": server.url}})
        decoder = open_decoder(given, ManualClock())
        assert isinstance(decoder, TopicDecoder)
        good = [
            at("files", avro()),
            at("bodies", b'{"body": "a body"}'),
            at("posts-1", framed(avro())),
            at("posts-2", framed(avro())),
            at("lines-1", b'{"text": "a line"}'),
            at("elsewhere", b'{"text": "as the section says"}'),
        ]
        await decoder.prefetch(good)
        assert len(server.requests) == 1  # topics of a pattern share their schemas
    found = [decoder.decode(each) for each in good]
    text = POST["text"]
    assert [each.text for each in found] == [
        text,
        "a body",
        text,
        text,
        '{"text": "a line"}',
        "as the section says",
    ]
    assert all(isinstance(each, TextRecord) for each in found)
    for wrong in (at("bodies", json.dumps({"text": "x"}).encode()), at("files", framed(avro()))):
        with pytest.raises(DecodeError) as raised:
            decoder.decode(wrong)
        assert raised.value.reason == "schema"


async def test_a_format_that_cannot_be_read_stops_the_service(tmp_path: Path) -> None:
    (tmp_path / "post.avsc").write_text("{}")
    topics = [{"name": "a", "format": "avro", "schema_file": tmp_path / "post.avsc"}]
    decoder = open_decoder(InputSettings.model_validate({"topics": topics}), ManualClock())
    with pytest.raises(ConfigError, match="schema_file"):
        await decoder.prefetch([at("a", b"")])
