"""Promises about back ends that other distributions register as entry points."""

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.commands.config import setting_rows
from streamlabel.config import installed
from streamlabel.config.loading import Loaded, load
from streamlabel.config.reference import files
from streamlabel.config.settings import Settings
from streamlabel.errors import ConfigError
from tests.distributions import Install, install

__all__ = ["install"]

GROUP = "streamlabel.backends"
ROOT = Path(__file__).parents[3]

SHOUTING = """
from types import SimpleNamespace
from typing import Literal
from pydantic import Field, SecretStr
from streamlabel.config.places import FileName
from streamlabel.config.section import BackendSettings, Section

class Weights(Section):
    loud: float = Field(1.0, gt=0, description="Of exclamation marks.")

class ShoutingSettings(BackendSettings):
    '''Counts exclamation marks.'''

    backend: Literal["shouting"] = "shouting"
    labels: list[str] = Field(min_length=2, description="Names.")
    limit: int = Field(3, ge=1, description="Marks that make a shout.")
    lexicon: FileName | None = Field(None, description="Words that shout.")
    token: SecretStr | None = Field(None, description="Of the lexicon's server.")
    by_label: dict[str, float] = Field(default_factory=dict, description="Weights.")
    weights: Weights = Field(default_factory=Weights)

backend = SimpleNamespace(settings=ShoutingSettings, load=lambda settings: None)
"""


def given(**values: str) -> Loaded:
    overrides = {name.replace("__", "."): value for name, value in values.items()}
    return load(None, overrides={"model.backend": "shouting", **overrides}, environ={})


@pytest.fixture
def shouting(install: Install) -> None:
    install("shouting-backend", {GROUP: {"shouting": "shouting:backend"}}, shouting=SHOUTING)


@pytest.mark.usefixtures("shouting")
def test_its_section_is_read_like_ours_from_every_source(tmp_path: Path) -> None:
    file = tmp_path / "streamlabel.yaml"
    file.write_text("model: {backend: shouting, lexicon: words.txt, weights: {loud: 2.5}}\n")
    loaded = load(
        file,
        overrides={"model.labels": '["calm", "loud"]', "model.by_label.Loud": "0.5"},
        environ={"STREAMLABEL__MODEL__LIMIT": "5", "STREAMLABEL__MODEL__TOKEN": "s3cret"},
    )
    model: Any = loaded.settings.model
    assert type(model).__name__ == "ShoutingSettings"
    assert (model.labels, model.limit, model.by_label) == (["calm", "loud"], 5, {"Loud": 0.5})
    assert model.lexicon == str(tmp_path / "words.txt"), "a path begins at the file's folder"
    assert model.weights.loud == 2.5
    rows = {name: (value, source) for name, value, source in setting_rows(loaded, changed=True)}
    assert rows["model.limit"] == (5, "STREAMLABEL__MODEL__LIMIT")
    assert "s3cret" not in str(rows)


@pytest.mark.usefixtures("shouting")
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({}, "model.labels: missing; set it: Names"),
        ({"model__limit": "0"}, "model.limit: must be at least 1, is "),
        ({"model__limit_": "4"}, "model.limit_: unknown setting; did you mean model.limit?"),
        ({"model__weights__loud": "-1"}, "model.weights.loud: must be greater than 0"),
        ({"model__labels": "calm"}, "model.labels: must be JSON, for example"),
        ({"model__device": "cpu"}, "model.device: the back end shouting has no such setting, only"),
        ({"model__token": "x"}, "model.token: secrets in flags are visible"),
    ],
)
def test_what_is_wrong_with_it_is_said_as_well_as_for_ours(
    wrong: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        given(**wrong)
    assert sentence in str(raised.value)
    assert "shouting." not in str(raised.value), "no path of pydantic's"


def test_it_is_imported_only_when_it_is_asked_for(install: Install) -> None:
    install("other-backend", {GROUP: {"other": "other_backend:backend"}}, other_backend="1 / 0")
    load(None, overrides={"model.backend": "fake"}, environ={})
    assert "other_backend" not in sys.modules


@pytest.mark.usefixtures("shouting")
def test_an_unknown_back_end_hears_which_are_installed_and_how_to_add_one() -> None:
    with pytest.raises(ConfigError) as raised:
        load(None, overrides={"model.backend": "my-company"}, environ={})
    message = str(raised.value)
    assert message.startswith('model.backend: "my-company" is not a back end; available: ')
    assert "installed: shouting;" in message
    assert f"entry point in the group {GROUP}" in message
    with pytest.raises(ConfigError, match="did you mean shouting"):
        load(None, overrides={"model.backend": "shoutin"}, environ={})


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import a_library_that_is_away", "cannot be imported: ModuleNotFoundError: No module"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero; repair or uninstall"),
        ("", "cannot be imported: AttributeError"),
        ("backend = 3", "is a int without settings and load"),
        ("class backend: settings = dict; load = print", "not a subclass of streamlabel.api.Back"),
        (
            "from streamlabel.config.section import BackendSettings\n"
            "class backend: settings = BackendSettings; load = print",
            'has settings without backend: Literal["broken"] = "broken"',
        ),
        (
            SHOUTING,
            'has settings without backend: Literal["broken"] = "broken"',
        ),
    ],
)
def test_a_broken_entry_point_is_named(install: Install, source: str, problem: str) -> None:
    install("broken-backend", {GROUP: {"broken": "broken_one:backend"}}, broken_one=source)
    with pytest.raises(ConfigError) as raised:
        load(None, overrides={"model.backend": "broken"}, environ={})
    message = str(raised.value)
    assert "entry point broken_one:backend of broken-backend 1.0" in message
    assert message.startswith("model.backend: ")
    assert problem in message


def test_a_name_of_ours_and_a_name_of_two_are_refused(install: Install) -> None:
    install("thief", {GROUP: {"fake": "shouting:backend"}}, shouting=SHOUTING)
    with pytest.raises(ConfigError, match=r"fake is built into streamlabel, and thief 1\.0 reg"):
        load(None, overrides={"model.backend": "fake"}, environ={})
    install("one", {GROUP: {"shouting": "shouting:backend"}})
    install("two", {GROUP: {"shouting": "shouting:backend"}})
    with pytest.raises(ConfigError, match=r"registered by (one|two) 1\.0 and (one|two) 1\.0"):
        given(model__labels='["a", "b"]')


@pytest.mark.usefixtures("shouting")
def test_the_schema_for_editors_has_its_section_and_generated_files_do_not(
    install: Install,
) -> None:
    install("broken-backend", {GROUP: {"broken": "broken_one:backend"}}, broken_one="1 / 0")
    result = CliRunner().invoke(app, ["config", "schema"])
    assert result.exit_code == 0, result.output
    assert "left out: the back end broken: the entry point" in result.stderr
    schema = json.loads(result.stdout)
    validator: Any = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    assert validator.is_valid({"model": {"backend": "shouting", "labels": ["a", "b"]}})
    assert validator.is_valid({"model": {"backend": "fake"}})
    assert not validator.is_valid({"model": {"backend": "shouting", "labels": ["a"]}})
    assert not validator.is_valid({"model": {"backend": "shouting", "labels": "a", "x": 1}})
    for name, content in files().items():
        assert (ROOT / name).read_text(encoding="utf-8") == content, "run scripts/generate"


@pytest.mark.usefixtures("shouting")
def test_settings_made_in_python_take_its_section() -> None:
    section = installed.find("back end", "shouting").settings
    model = section.model_validate({"labels": ["a", "b"]})
    settings = Settings.model_validate({"model": model})
    assert settings.model is model
    assert settings.model_dump(mode="json")["model"]["labels"] == ["a", "b"]
