"""The AsyncAPI document of a service: valid, complete, and without secrets."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.api import load_settings
from streamlabel.config.settings import Settings
from streamlabel.tools.async_api import document, files
from streamlabel.tools.async_api_page import files as pages
from streamlabel.tools.async_api_page import page

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
    "everything else": {
        **FAKE,
        "output": {"format": "avro", "registry": REGISTRY},
        "shadow": {"topic": "second", "model": {"backend": "fake"}},
        "control": {"topic": "deployments", "key": "k" * 32},
        "console": {"appeals_topic": "appeals"},
    },
    "a cascade": {
        "cascade": [
            {"name": "fast", **FAKE, "routing": {"threshold": 0.9}},
            {"name": "slow", **FAKE, "escalate": "harder", "routing": {"threshold": 0.9}},
        ]
    },
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
    known = load_settings(config)
    inputs = {None if each.pattern else each.name for each in known.input.topics}
    others = {known.output.verdicts_topic, known.console.appeals_topic, known.control.topic}
    assert topics - {None} == (
        (inputs or {known.input.topic}) | {*known.output_topics} | others
    ) - {None}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_page_shows_every_channel_message_and_field(name: str) -> None:
    found = document(Settings.model_validate(SETTINGS[name]))
    shown = page(found)
    for channel in found["channels"].values():
        assert f"| `{channel['address'] or 'topics of a pattern'}` |" in shown
    for message in found["components"]["messages"]:
        assert f"\n## {message}\n" in shown
        assert f"](#{message.lower()})" in shown
    for schema in found["components"]["schemas"].values():
        for field in schema.get("properties", {}):
            assert re.search(rf"\| `([\w.\[\]]+\.)?{field}` \|", shown), field
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {3, 5}  # no cell breaks a table


def test_a_document_that_is_not_valid_would_be_found() -> None:
    assert not VALIDATOR.is_valid({"asyncapi": "3.0.0", "info": {"title": "x"}})


def test_the_files_are_those_of_the_code() -> None:
    for path, content in (files() | pages()).items():
        assert (ROOT / path).read_text() == content, "run scripts/generate"
