"""Present schemas of the outputs against the published ones: both sides read each other."""

import json
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from fastavro.utils import generate_many

ROOT = Path(__file__).parents[4]
NAMES = ("label", "review", "verdict")


def published(name: str) -> str:
    return (ROOT / "tests" / "published" / name).read_text()


def present(name: str) -> str:
    return (ROOT / "docs" / "schemas" / name).read_text()


def unread(written: dict[str, Any], reader: dict[str, Any]) -> str | None:
    """Return why values of one Avro schema cannot be read with another; None: they can."""
    ours, theirs = fastavro.parse_schema(dict(written)), fastavro.parse_schema(dict(reader))
    for value in generate_many(ours, 25):
        stream = BytesIO()
        fastavro.schemaless_writer(stream, ours, value)
        stream.seek(0)
        try:
            fastavro.schemaless_reader(stream, ours, theirs)
        except fastavro.read.SchemaResolutionError as error:
            return str(error)[:200]
    return None


@pytest.mark.parametrize("name", NAMES)
def test_avro_is_read_by_earlier_and_later_readers(name: str) -> None:
    """What a registry calls FULL compatibility."""
    before, now = (json.loads(each(f"{name}.avsc")) for each in (published, present))
    assert unread(before, now) is None
    assert unread(now, before) is None


@pytest.mark.parametrize("change", ["no default", "another type"])
def test_a_change_that_readers_could_not_follow_would_be_found(change: str) -> None:
    before = json.loads(published("label.avsc"))
    now = json.loads(published("label.avsc"))
    if change == "no default":
        now["fields"].append({"name": "new", "type": "string"})
    else:
        now["fields"][1]["type"] = "long"
    assert unread(before, now) is not None


def fields_of(proto: str) -> dict[tuple[str, ...], tuple[str, int]]:
    """Return kind and number of each field, by its path."""
    found: dict[tuple[str, ...], tuple[str, int]] = {}
    above: list[str] = []
    for line in map(str.strip, proto.splitlines()):
        if opened := re.fullmatch(r"message (\w+) \{", line):
            above.append(opened[1])
        elif line == "}":
            above.pop()
        elif field := re.fullmatch(r"(.+) (\w+) = (\d+);", line):
            found[(*above, field[2])] = (field[1], int(field[3]))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_protobuf_keeps_every_number_and_kind(name: str) -> None:
    before, now = fields_of(published(f"{name}.proto")), fields_of(present(f"{name}.proto"))
    assert before
    assert {path: now.get(path) for path in before} == before
    for path, (_, number) in now.items():
        same = [p for p, (_, n) in before.items() if p[:-1] == path[:-1] and n == number]
        assert same in ([], [path])  # a number is never used twice


def facts(schema: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401 any part of a schema
    """Yield what a JSON Schema promises to readers, one fact each."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key not in {"description", "title", "default", "examples", "$id"}:
                yield from facts(value, f"{path}/{key}")
    elif isinstance(schema, list):
        for number, each in enumerate(schema):
            # the order of names and values means nothing, that of alternatives is kept
            inner = path if isinstance(each, str | None) else f"{path}/{number}"
            yield from facts(each, inner)
    else:
        yield f"{path}={json.dumps(schema)}"


@pytest.mark.parametrize("name", NAMES)
def test_json_keeps_every_field_and_what_it_promises(name: str) -> None:
    before, now = (json.loads(each(f"{name}.json")) for each in (published, present))
    assert set(facts(before)) - set(facts(now)) == set()
    changed = json.loads(json.dumps(before))
    del changed["properties"]["id"]
    changed["properties"]["task"] = {"type": "integer"}
    changed["required"].remove("source" if name != "verdict" else "action")
    gone = set(facts(before)) - set(facts(changed))
    assert {each.split("/")[2] for each in gone if each.startswith("/properties")} == {"id", "task"}
    assert any(each.startswith("/required=") for each in gone)
