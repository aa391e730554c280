"""The files about the configuration say what the code says."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from streamlabel.config.catalog import entries
from streamlabel.config.deployments import all_deployments
from streamlabel.config.loading import load
from streamlabel.config.reference import default_yaml, files, json_schema
from streamlabel.config.settings import Settings

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "config" / "examples").glob("*.yaml"))
SCHEMA = json_schema()
VALIDATOR: Any = jsonschema.Draft202012Validator(SCHEMA)


@pytest.mark.parametrize("name", files())
def test_a_generated_file_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == files()[name], "run scripts/generate"


def test_default_yaml_is_the_codes_defaults() -> None:
    path = ROOT / "config" / "default.yaml"
    environ = {"STREAMLABEL__MODEL__BACKEND": "fake"}
    result = load(path, overrides={}, environ=environ)
    assert result.settings == Settings.model_validate({"model": {"backend": "fake"}})
    kinds = {origin.kind for name, origin in result.origins.items() if "model" not in name}
    assert kinds == {"file"}


def test_default_yaml_offers_every_back_end_commented_out() -> None:
    text = default_yaml()
    assert "model" not in yaml.safe_load(text)
    for backend in {entry.backend for entry in entries() if entry.backend}:
        assert f"#   backend: {backend}\n" in text


def test_every_setting_has_a_description() -> None:
    missing = [e.name for e in entries() if not e.description and e.path[-1] != "backend"]
    assert missing == []


def test_there_are_examples_for_cpu_cuda_and_ascend() -> None:
    names = {path.name for path in EXAMPLES}
    assert {"encoder-cpu.yaml", "encoder-cuda.yaml", "encoder-ascend.yaml"} <= names


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_loads_and_fits_the_schema(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # examples name their files from the root of the source tree
    monkeypatch.chdir(ROOT)
    loaded = load(path, overrides={}, environ={"STREAMLABEL__CONTROL__KEY": "0123456789abcdef"})
    form = path.name.partition("-")[0].removesuffix(".yaml")
    if form in {"cascade", "tasks"}:
        assert len(all_deployments(loaded.settings, everywhere=True)) > 1
    else:
        assert loaded.settings.model.backend == form
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert [error.message for error in VALIDATOR.iter_errors(tree)] == []


def test_the_schema_refuses_what_the_loader_refuses() -> None:
    model = {"backend": "fake"}
    VALIDATOR.check_schema(SCHEMA)
    assert VALIDATOR.is_valid({"model": model})
    for wrong in (
        {},
        {"model": model, "kafka": {"grup_id": "x"}},
        {"model": {"backend": "encodr"}},
        {"model": model, "http": {"port": 70000}},
        {"model": model, "routing": {"thresholds": {"a": 2}}},
    ):
        assert not VALIDATOR.is_valid(wrong), wrong


def test_the_schema_is_plain_json() -> None:
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
