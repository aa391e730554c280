"""The examples of the JSON Schemas: messages as a service and a console have written them."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from streamlabel.consumer.output.appeal import AppealMessage
from streamlabel.consumer.output.schemas import (
    LabelMessage,
    ReviewMessage,
    examples,
    files,
    schemas,
)
from streamlabel.consumer.output.verdict import VerdictMessage, read_verdict

ROOT = Path(__file__).parents[4]
MODELS: dict[str, type[BaseModel]] = {
    "label": LabelMessage,
    "review": ReviewMessage,
    "verdict": VerdictMessage,
    "appeal": AppealMessage,
}
CASES = [(name, number) for name in MODELS for number in range(len(examples(name)))]


def validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )


def shared(found: Any, example: Any) -> Any:  # noqa: ANN401 any part of a message
    """Return the fields that an example has, too."""
    if isinstance(found, dict) and isinstance(example, dict):
        return {key: shared(found[key], example[key]) for key in example if key in found}
    return found


@pytest.mark.parametrize("name", MODELS)
def test_every_published_schema_has_examples(name: str) -> None:
    published = json.loads((ROOT / "docs" / "schemas" / f"{name}.json").read_text())
    assert published["examples"] == examples(name)
    assert published["examples"]
    assert {f"docs/schemas/{each}.json" for each in MODELS} == set(files())


@pytest.mark.parametrize(("name", "number"), CASES)
def test_an_example_is_valid_by_its_schema_and_its_model(name: str, number: int) -> None:
    example = examples(name)[number]
    validator(schemas()[name]).validate(example)
    read = MODELS[name].model_validate_json(json.dumps(example))
    again = read.model_dump(mode="json", by_alias=True)
    assert shared(again, example) == example  # all of its fields are known


@pytest.mark.parametrize(("name", "number"), CASES)
def test_an_example_without_a_required_field_would_be_found(name: str, number: int) -> None:
    example = examples(name)[number]
    for field in schemas()[name]["required"]:
        broken = {key: value for key, value in example.items() if key != field}
        assert not validator(schemas()[name]).is_valid(broken), field
    assert not validator(schemas()[name]).is_valid(example | {"schema": "streamlabel.other/v1"})


def test_the_examples_are_one_story() -> None:
    [review], [verdict] = examples("review"), examples("verdict")
    read = read_verdict(json.dumps(verdict).encode())
    assert (read.review_id, read.model_labels) == (review["id"], [review["label"]])
    assert read.source is not None
    assert read.source.offset == review["source"]["offset"]
    assert examples("appeal")[0]["id"] == review["id"]
    texts = {each["id"] for each in examples("label")}
    assert examples("appeal")[1]["id"] in texts


def test_a_registry_gets_the_schema_without_examples() -> None:
    assert not any("examples" in schema for schema in schemas().values())
