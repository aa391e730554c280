"""Outputs behind schema ids: the bytes of Confluent's own serializers, and compatible schemas."""

import asyncio
import json
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import fastavro
import pytest
from google.protobuf import descriptor_pb2
from pydantic import ValidationError

from streamlabel.config.kafka import OutputSettings
from streamlabel.consumer.core.records import TextRecord
from streamlabel.consumer.output.field_shapes import fields_of
from streamlabel.consumer.output.message_encoder import MessageEncoder
from streamlabel.consumer.output.published_schemas import (
    OUTPUTS,
    OutputName,
    avro_schema,
    proto_base64,
    proto_file,
)
from streamlabel.consumer.output.schema_encoder import SchemaEncoder, is_plain
from streamlabel.consumer.output.schema_files import files
from streamlabel.consumer.output.value_writers import OutputFormat
from streamlabel.errors import ConfigError
from streamlabel.models.core.classifier import ModelIdentity
from streamlabel.models.core.labels import LabelSet
from testing.confluent_serializers import Confluent, some_result
from tests.doubles import ManualClock
from tests.registry_server import Answer, RegistryServer, not_found

ROOT = Path(__file__).parents[4]
FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)
ABOUT: dict[str, Any] = {
    "labels": LabelSet(("fine", "rude", "spam")),
    "model": ModelIdentity("tiny", "fake", "cpu", "float32", "abc"),
}


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    """A registry that has every schema under id 258, or registers it."""
    with RegistryServer() as running:
        running.behave = lambda _: Answer({"id": 258})
        yield running


def encoder(server: RegistryServer, **values: object) -> SchemaEncoder:
    settings = OutputSettings.model_validate(
        {"format": "avro", "registry": {"url": server.url}, **values}
    )
    return SchemaEncoder(settings, clock=ManualClock(), **ABOUT)


@pytest.mark.parametrize("output_format", FORMATS)
async def test_values_are_those_of_confluents_serializers(
    server: RegistryServer, output_format: OutputFormat
) -> None:
    ours = encoder(server, format=output_format)
    await ours.prefetch()
    plain = MessageEncoder(**ABOUT)
    theirs = {name: Confluent(output_format, name) for name in OUTPUTS}
    for seed in range(50):
        messages = some_result(seed).outputs(plain)
        for name, outbound in some_result(seed).outputs(ours).items():
            message = json.loads(messages[name].value or b"")
            expected = theirs[name].value(message)
            assert outbound.value is not None
            assert outbound.value[:5] == b"\x00\x00\x00\x01\x02"
            assert outbound.value[5:] == expected[5:]
            assert expected[:1] == b"\x00"


async def test_readers_of_avro_see_the_message(server: RegistryServer) -> None:
    ours = encoder(server)
    await ours.prefetch()
    plain = json.loads(some_result(3).outputs(MessageEncoder(**ABOUT))["review"].value or b"")
    outbound = some_result(3).outputs(ours)["review"]
    stream = BytesIO((outbound.value or b"")[5:])
    found: Any = fastavro.schemaless_reader(stream, avro_schema("review"), None)
    assert outbound.headers[0] == ("content-type", b"avro/binary")
    for name, value in plain.items():
        expected = None if value is None else json.dumps(value, separators=(",", ":"))
        if name == "metadata":
            assert found[name] == expected
        elif name == "model":
            assert {key: found[name][key] for key in value} == value
        else:
            assert found[name] == value


@pytest.mark.parametrize("output_format", FORMATS)
async def test_schemas_are_looked_up_once_and_registered_only_if_allowed(
    server: RegistryServer, output_format: OutputFormat
) -> None:
    for allowed, suffix in ((False, ""), (True, "/versions")):
        server.requests.clear()
        ours = encoder(server, format=output_format, auto_register=allowed)
        for _ in range(3):
            await ours.prefetch()
        assert server.requests == [
            f"/subjects/labels-value{suffix}",
            f"/subjects/review-value{suffix}",
        ]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (not_found(40403), "it is not registered"),
        (Answer({"error_code": 409}, 409), "the registry refuses it .status 409."),
    ],
)
async def test_a_schema_that_is_not_registered_stops_the_service(
    server: RegistryServer, answer: Answer, why: str
) -> None:
    server.behave = lambda _: answer
    sentence = rf"labels-value: {why}; register docs/schemas/label\.avsc, or set output\.auto_reg"
    with pytest.raises(ConfigError, match=sentence):
        await encoder(server).prefetch()


async def test_a_registry_that_is_away_is_asked_again(server: RegistryServer) -> None:
    answers = iter([Answer(b"", 503), Answer(b"<html>", 404), Answer({"id": "x"})])
    server.behave = lambda _: next(answers, Answer({"id": 258}))
    settings = OutputSettings.model_validate({"format": "avro", "registry": {"url": server.url}})
    clock = ManualClock()
    ours = SchemaEncoder(settings, clock=clock, **ABOUT)
    fetching = asyncio.create_task(ours.prefetch())
    while not fetching.done():
        await asyncio.sleep(0.01)
        await clock.advance(30)
    await fetching
    assert len(server.requests) == 5


@pytest.mark.parametrize("output_format", ["avro", "protobuf", "json_schema"])
@pytest.mark.parametrize("text", ["x" * 5000, "\n" * 5000, "é" * 5000, "😀" * 2000])
async def test_a_text_is_shortened_to_fit(
    server: RegistryServer, output_format: str, text: str
) -> None:
    ours = encoder(server, format=output_format)
    await ours.prefetch()
    result = some_result(1)
    long = TextRecord(result.record.source, result.record.id, text, 0)
    outbound = result._replace(record=long).review(ours, limit_bytes=2500)
    assert outbound.size_bytes <= 2500


def test_a_shadow_keeps_writing_json(server: RegistryServer) -> None:
    ours = encoder(server)
    record, prediction, decision, timings = some_result(1)
    outbound = ours.label(record, prediction, decision, timings, topic="shadow")
    assert json.loads(outbound.value or b"")["schema"] == "streamlabel.label/v1"


def test_keys_and_cloudevents_are_by_choice(server: RegistryServer) -> None:
    settings = OutputSettings(key="id", cloudevents_source="/moderation")
    assert not is_plain(settings)
    assert is_plain(OutputSettings())
    outbounds = some_result(1).outputs(SchemaEncoder(settings, **ABOUT))
    plain = some_result(1).outputs(MessageEncoder(**ABOUT))
    for name, outbound in outbounds.items():
        headers = dict(outbound.headers)
        assert outbound.key == b"id-1"
        assert outbound.value == plain[name].value
        assert headers["ce_type"] == f"streamlabel.{name}.v1".encode()
        assert headers["ce_source"] == b"/moderation"
        assert headers["ce_specversion"] == b"1.0"
        assert headers["content-type"] == b"application/json"
        assert json.loads(outbound.value or b"")["processed_at"].encode() == headers["ce_time"]
    assert len({dict(each.headers)["ce_id"] for each in outbounds.values()}) == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": "avro"}, "registry.url: required by format avro"),
        ({"auto_register": True}, "auto_register: format json has no schema"),
        ({"registry": {"url": "https://x"}}, "registry: format json has no schema"),
    ],
)
def test_settings_that_do_nothing_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        OutputSettings.model_validate(values)
    assert message in str(caught.value)


# The schemas, and those of the version before


@pytest.mark.parametrize("path", files())
def test_the_files_are_those_of_the_code(path: str) -> None:
    assert (ROOT / path).read_text() == files()[path], "run scripts/generate"


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_field_is_in_both_schemas(name: OutputName) -> None:
    fields = [each.name for each in fields_of(OUTPUTS[name])]
    compiled = descriptor_pb2.FileDescriptorProto.FromString(proto_file(name)).message_type[0]
    assert [each["name"] for each in avro_schema(name)["fields"]] == fields
    assert [each.name for each in compiled.field] == fields
    numbers = [each.number for each in compiled.field]
    assert len(set(numbers)) == len(numbers)
    assert b64decode(proto_base64(name)) == proto_file(name)


# Version 1 as it was first published: later ones only add to it.
FIRST = {
    "label": {"schema": 1, "id": 2, "label": 3, "confidence": 4, "metadata": 12, "timings_ms": 14},
    "review": {"schema": 1, "id": 2, "label": 3, "threshold": 201, "text": 202},
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_numbers_of_protobuf_never_change(name: OutputName) -> None:
    compiled = descriptor_pb2.FileDescriptorProto.FromString(proto_file(name)).message_type[0]
    numbers = {each.name: each.number for each in compiled.field}
    assert {field: numbers[field] for field in FIRST[name]} == FIRST[name]


@pytest.mark.parametrize("name", OUTPUTS)
def test_readers_with_a_later_schema_read_the_present_values(name: OutputName) -> None:
    """A new field has a default, so the registry's usual check (BACKWARD) accepts it."""
    present = avro_schema(name)
    later = {
        **present,
        "fields": [
            *present["fields"],
            {"name": "later", "type": ["null", "string"], "default": None},
        ],
    }
    needed = {each["name"]: each for each in present["fields"] if "default" not in each}
    value: dict[str, Any] = {
        "schema": "x", "id": "1", "route": "label", "reasons": [], "truncated": False,
        "model": {"name": "m", "backend": "b", "device": "d", "digest": "e"},
        "source": {"topic": "t", "partition": 0, "offset": 0, "timestamp_ms": 0},
        "processed_at": "t", "timings_ms": {"queue": 0.0, "inference": 0.0}, "text": "x",
    }  # fmt: skip
    assert set(needed) <= set(value)
    stream = BytesIO()
    fastavro.schemaless_writer(stream, present, {each: value[each] for each in needed})
    stream.seek(0)
    found: Any = fastavro.schemaless_reader(stream, present, later)
    assert found["later"] is None
