"""What reads our topics reads them in every format: console, learn, monitor, compare, tail."""

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, get_args

import pytest

from streamlabel.config.kafka import OutputSettings
from streamlabel.console.topics.verdict_encoder import VerdictEncoder
from streamlabel.consumer.core.records import Position, SourceRecord
from streamlabel.consumer.output.message_encoder import MessageEncoder
from streamlabel.consumer.output.output_reader import OutputReader
from streamlabel.consumer.output.published_schemas import (
    PublishedName,
    avro_schema,
    json_schema,
    proto_file,
)
from streamlabel.consumer.output.schema_encoder import SchemaEncoder
from streamlabel.consumer.output.schemas import LabelMessage, ReviewMessage
from streamlabel.consumer.output.value_writers import OutputFormat
from streamlabel.consumer.output.verdict import VerdictMessage, read_verdict
from streamlabel.errors import ConfigError
from streamlabel.models.core.classifier import ModelIdentity
from streamlabel.models.core.labels import LabelSet
from testing.confluent_serializers import Confluent, some_result
from tests.doubles import ManualClock
from tests.registry_server import Answer, RegistryServer, not_found, schema

if TYPE_CHECKING:
    from pydantic import BaseModel

FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)
IDS: dict[PublishedName, int] = {"label": 1, "review": 2, "verdict": 3}
ABOUT: dict[str, Any] = {
    "labels": LabelSet(("fine", "rude", "spam")),
    "model": ModelIdentity("tiny", "fake", "cpu", "float32", "abc"),
}
VERDICTS: list[dict[str, Any]] = [
    {
        "action": "correct",
        "labels": ["spam"],
        "model_probabilities": {"fine": 0.25, "spam": 0.75},
        "duration_ms": 1250,
        "reasons": ["low_confidence", "audit"],
        "source": {"topic": "texts", "partition": 1, "offset": 7},
        "look": 2,
        "purpose": "second_look",
        "has_note": True,
    },
    {"action": "correct", "labels": []},  # in a multi-label task: none of them
    {"action": "unsure", "labels": None, "task": "tone"},
]


def verdict(**values: Any) -> VerdictMessage:  # noqa: ANN401
    usual = {"review_id": "a", "id": "a", "saw_model_answer": True, "reviewer": "p-1"}
    usual |= {"decided_at": "2026-11-29T10:00:00.5Z", "review_probability": 0.5}
    return VerdictMessage.model_validate({**usual, **values})


@pytest.fixture(params=FORMATS)
def output(request: pytest.FixtureRequest) -> Iterator[OutputSettings]:
    """Settings of one format, and a registry that has the schemas of all outputs."""
    wanted: OutputFormat = request.param
    with RegistryServer() as server:
        for name, number in IDS.items():
            server.answers[f"/subjects/{name}s-value"] = Answer({"id": number})
            if wanted == "protobuf":
                text = b64encode(proto_file(name)).decode()
                server.answers[f"/schemas/ids/{number}?format=serialized"] = schema(
                    text, "PROTOBUF"
                )
            elif wanted == "avro":
                text = json.dumps(avro_schema(name))
                server.answers[f"/schemas/ids/{number}"] = schema(text)
            else:
                server.answers[f"/schemas/ids/{number}"] = schema(json_schema(name), "JSON")
        yield OutputSettings.model_validate(
            {
                "format": wanted,
                "registry": {"url": server.url},
                "labels_topic": "labels",
                "review_topic": "reviews",
                "verdicts_topic": "verdicts",
            }
        )


def at(value: bytes | None) -> SourceRecord:
    return SourceRecord(Position("t", 0, 0), b"k", value, (), 0, 0.0)


async def read(output: OutputSettings, *values: bytes | None) -> list[bytes | None]:
    records = await OutputReader(output, ManualClock()).plain([at(each) for each in values])
    return [each.value for each in records]


async def test_labels_and_reviews_are_read_as_they_were_meant(output: OutputSettings) -> None:
    plain, ours = MessageEncoder(**ABOUT), SchemaEncoder(output, clock=ManualClock(), **ABOUT)
    await ours.prefetch()
    for seed in range(40):
        result = some_result(seed)
        expected = result.outputs(plain)
        for name, outbound in result.outputs(ours).items():
            [value] = await read(output, outbound.value)
            models: dict[str, type[BaseModel]] = {"label": LabelMessage, "review": ReviewMessage}
            model = models[name]
            assert value is not None
            found = model.model_validate_json(value).model_dump()
            assert found == model.model_validate_json(expected[name].value or b"").model_dump()


@pytest.mark.parametrize("values", VERDICTS)
async def test_verdicts_are_written_as_confluent_does_and_read_again(
    output: OutputSettings, values: dict[str, Any]
) -> None:
    encoder = VerdictEncoder(output, ManualClock())
    await encoder.prefetch()
    given = verdict(**values)
    keyed = encoder.keyed("a", given.encoded())
    [value, gone, foreign] = await read(output, keyed.value, None, given.encoded())
    assert read_verdict(value or b"") == given
    assert gone is None
    assert foreign == given.encoded()  # of a tool that writes JSON
    assert output.format != "json"
    theirs = Confluent(output.format, "verdict").value(json.loads(given.encoded()))
    assert (keyed.value or b"")[5:] == theirs[5:]
    assert encoder.keyed("a", None) == (b"a", None, ())


async def test_verdicts_are_cloud_events_by_choice() -> None:
    output = OutputSettings(cloudevents_source="/review")
    encoder = VerdictEncoder(output, ManualClock())
    await encoder.prefetch()
    value = verdict(**VERDICTS[0]).encoded()
    keyed = encoder.keyed("tone/a", value)
    assert (keyed.key, keyed.value) == (b"tone/a", value)
    assert dict(keyed.headers) == {
        "content-type": b"application/json",
        "ce_specversion": b"1.0",
        "ce_id": b"tone/a/2026-11-29T10:00:00.5Z",
        "ce_source": b"/review",
        "ce_type": b"streamlabel.verdict.v1",
        "ce_time": b"2026-11-29T10:00:00.5Z",
        "ce_subject": b"tone/a",
    }
    assert await OutputReader(output, ManualClock()).plain([at(value)]) == [at(value)]


async def test_a_schema_that_is_not_registered_is_named() -> None:
    with RegistryServer() as server:
        server.behave = lambda _: not_found()
        output = OutputSettings.model_validate({"format": "avro", "registry": {"url": server.url}})
        with pytest.raises(ConfigError, match=r"verdicts-value: .*docs/schemas/verdict.avsc"):
            await VerdictEncoder(output, ManualClock()).prefetch()


async def test_a_value_that_cannot_be_read_is_left_to_its_reader(output: OutputSettings) -> None:
    [value] = await read(output, b"\x00\x00\x00\x00\x09broken")
    assert value == b"\x00\x00\x00\x00\x09broken"
