"""What an earlier version wrote is read by this one, as docs/upgrading.md promises.

The files in ``previous/`` were written by that version and are never changed: a test that fails
here is a broken promise, and not an old file.
"""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from streamlabel.config.loading import load
from streamlabel.consumer.output.schemas import ReviewMessage
from streamlabel.models.calibration.calibration_file import CalibrationFile
from tests.flow.rig import rig

PREVIOUS = Path(__file__).parent / "previous"
CONFIGS = sorted((PREVIOUS / "config").glob("*.yaml"))
# what the files of the earlier version take from the environment
ENVIRON = {"STREAMLABEL__AUDIT__KEY": "a key of the tests", "API_KEY": "a key"}


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (PREVIOUS / name).read_text().splitlines()]


def schema(name: str) -> dict[str, Any]:
    found = json.loads((PREVIOUS / "schemas" / f"{name}.json").read_text())
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_of_the_earlier_version_is_accepted(path: Path) -> None:
    given = {**ENVIRON, **dict.fromkeys(("OPENAI_API_KEY", "MODEL_API_KEY", "AUDIT_KEY"), "x")}
    assert load(path, overrides={}, environ=given).settings.model_dump()


def test_a_calibration_of_the_earlier_version_is_read() -> None:
    found = CalibrationFile.read(PREVIOUS / "calibration.yaml")
    assert found.id == "3daf3d301013ec9f"


@pytest.mark.parametrize("line", lines("reviews.jsonl"), ids=lambda line: str(line["id"]))
def test_the_console_reads_reviews_of_the_earlier_version(line: dict[str, Any]) -> None:
    assert ReviewMessage.model_validate(line).text


@pytest.mark.parametrize(("route", "text"), [("label", "0.9 sure"), ("review", "0.6 unsure")])
async def test_a_reader_with_the_earlier_schema_reads_what_is_written_now(
    route: str, text: str
) -> None:
    async with rig() as found:
        await found.send(text)
        await found.clock.advance(1)
        [written] = found.broker.written("labels" if route == "label" else "review")
    old = schema(route)
    jsonschema.validate(json.loads(written.value or b""), old | {"additionalProperties": True})


def test_no_field_of_the_wire_is_removed_or_becomes_another() -> None:
    """A required field stays required, and the version of a message stays the same."""
    now = Path(__file__).parents[1] / "docs" / "schemas"
    for name in ("label", "review", "verdict"):
        old, new = schema(name), json.loads((now / f"{name}.json").read_text())
        assert set(old["properties"]) <= set(new["properties"]), name
        assert set(old.get("required", ())) <= set(new.get("required", ())), name
        version = [each["properties"]["schema"]["const"] for each in (old, new)]
        assert version[0] == version[1]
