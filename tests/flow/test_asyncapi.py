"""The AsyncAPI document of a service: valid, complete, and without secrets."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.tools.async_api import files

ROOT = Path(__file__).parents[2]
VALIDATOR = jsonschema.Draft7Validator(
    json.loads((ROOT / "tests" / "vendored" / "asyncapi-3.0.0.json").read_text())
)
REGISTRY = {"url": "http://registry", "username": "u", "password": "s3cret"}
FAKE = {"model": {"backend": "fake"}}
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": FAKE,
    "several topics": {
        **FAKE,
        "kafka": {"bootstrap_servers": "a:1,b:2"},
        "input": {
            "registry": REGISTRY,
            "topics": [
                {"name": "posts", "format": "avro", "framing": "confluent"},
                {"pattern": "chat-.*", "text_path": "a.b"},
                {"name": "lines", "format": "text"},
            ],
        },
    },
    "tasks": {"tasks": {"tone": {**FAKE, "output": {"labels_topic": "tones"}}, "spam": FAKE}},
    "avro": {**FAKE, "output": {"format": "avro", "registry": REGISTRY, "key": "id"}},
    "protobuf": {**FAKE, "output": {"format": "protobuf", "registry": REGISTRY}},
}


def references(value: Any) -> Iterator[str]:  # noqa: ANN401 any part of the document
    if isinstance(value, list):
        for each in value:
            yield from references(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key == "$ref":
                yield each
            else:
                yield from references(each)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_document_is_valid_and_complete(name: str, tmp_path: Path) -> None:
    config = tmp_path / "service.yaml"
    config.write_text(yaml.safe_dump(SETTINGS[name]))
    done = CliRunner().invoke(app, ["config", "asyncapi", "-c", str(config)])
    assert done.exit_code == 0, done.stderr
    found = yaml.safe_load(done.stdout)
    VALIDATOR.validate(found)
    assert "s3cret" not in done.stdout
    for reference in references(found):
        at = found
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]
    topics = {each["address"] for each in found["channels"].values()}
    assert {"review", "dead-letters", "verdicts"} <= topics
    assert {"posts", None, "lines"} <= topics or name != "several topics"
    assert {"tones", "labels"} <= topics or name != "tasks"


def test_a_document_that_is_not_valid_would_be_found() -> None:
    assert not VALIDATOR.is_valid({"asyncapi": "3.0.0", "info": {"title": "x"}})


def test_the_file_is_that_of_the_code() -> None:
    for path, content in files().items():
        assert (ROOT / path).read_text() == content, "run scripts/generate"
