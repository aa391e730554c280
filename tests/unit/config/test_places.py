"""Settings that name files: where a relative path begins, and what is said if nothing is there.

The settings are found by their types, so a new one is tested by being there.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_origin

import pytest
import yaml

from streamlabel.config.catalog import entries, env_name, paths_in, sections_in
from streamlabel.config.loading import load
from streamlabel.config.named_model import NamedModel
from streamlabel.config.places import Place, place_in, refuse_missing
from streamlabel.config.section import Section
from streamlabel.config.settings import Settings
from streamlabel.errors import ConfigError
from tests.least_models import MODELS, TASK

SECURITY = {
    "protocol": "SASL_SSL",
    "sasl_mechanism": "OAUTHBEARER",
    "ca_file": "/ca.pem",
    "cert_file": "/cert.pem",
    "key_file": "/key.pem",
    "token_file": "/token",
}

REGISTRY = {
    "url": "https://registry",
    "ca_file": "/ca.pem",
    "cert_file": "/cert.pem",
    "key_file": "/key.pem",
}

Found = tuple[tuple[str, ...], str, Place]


def found(
    section: type[Section] = Settings, above: tuple[str, ...] = (), backend: str = "fake"
) -> Iterator[Found]:
    """Every setting that names a file or folder, with the back end that has it."""
    for name, field in section.model_fields.items():
        here = (*above, name)
        marked = [item for item in field.metadata if isinstance(item, Place)]
        place = marked[0] if marked else place_in(field.annotation)
        if place is not None and get_origin(field.annotation) is dict:
            yield (*here, "7"), backend, place  # one of the mapping
        elif place is not None and (marked or not sections_in(field.annotation)):
            yield here, backend, place
        for inner in sections_in(field.annotation):
            tag = inner.model_fields.get("backend")
            yield from found(inner, here, str(tag.default) if tag else backend)


PATHS = sorted({(at, backend, place) for at, backend, place in found()}, key=str)
by_path = pytest.mark.parametrize(
    "setting", PATHS, ids=[f"{'.'.join(at)}-{of}" for at, of, _ in PATHS]
)


def test_what_says_that_it_is_a_file_or_folder_is_one_by_its_type() -> None:
    named = {(at, of) for at, of, _ in PATHS}
    for entry in entries():
        says = re.search(r"\b([Ff]ile|[Ff]older|PEM)\b", entry.description)
        if says and not entry.path[-1].endswith("password"):
            assert (entry.path, entry.backend or "fake") in named, entry.name
    assert (("model", "task"), "remote") in named
    assert len(PATHS) >= 18


def tree(at: tuple[str, ...], backend: str, value: str) -> dict[str, Any]:
    """A whole configuration with one path in it."""
    model = {"backend": backend, **MODELS[backend]}
    whole: dict[str, Any] = {"model": model}
    if at[0] == "shadow":
        whole = {"model": {"backend": "fake"}, "shadow": {"model": model}}
    if at[:2] == ("kafka", "security"):
        whole["kafka"] = {"security": dict(SECURITY)}
    if at[0] == "input":
        whole["input"] = {name: dict(REGISTRY) for name in ("registry",) if name in at}
        framing = "none" if "schema_file" in at else "confluent"
        whole["input"] |= {"format": "avro", "framing": framing}
    if at[:2] == ("output", "registry"):
        whole["output"] = {"format": "avro", "registry": dict(REGISTRY)}
    inner = whole
    for name in at[:-1]:
        inner = inner.setdefault(name, {})
    inner[at[-1]] = value
    return whole


def task_at(settings: Settings, at: tuple[str, ...]) -> Any:  # noqa: ANN401 of any back end
    section: Any = settings.shadow if at[0] == "shadow" else settings
    return section.model.task


def value_at(settings: Settings, at: tuple[str, ...]) -> str:
    value: Any = settings
    for name in at:
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    return str(value)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: not the folder of the configuration file."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc" / "streamlabel.yaml"


def put(folder: Path, place: Place) -> None:
    """Make parts/thing below a folder, as the setting wants it."""
    (folder / "parts").mkdir()
    if place.kind == "model":
        (folder / "parts" / "thing").mkdir()
    else:
        (folder / "parts" / "thing").write_text(yaml.safe_dump(TASK))


@by_path
@pytest.mark.parametrize("text", ["parts/thing", "./parts/thing", "../etc/parts/thing"])
def test_a_relative_path_in_a_file_begins_at_the_file(
    config: Path, elsewhere: Path, setting: Found, text: str
) -> None:
    at, backend, place = setting
    put(config.parent, place)
    config.write_text(yaml.safe_dump(tree(at, backend, text)))
    settings = load(config, overrides={}, environ={}).settings
    if at[-2:] == ("model", "task"):
        assert task_at(settings, at).names == ("spam", "ham")
    else:
        assert Path(value_at(settings, at)).resolve() == config.parent / "parts" / "thing"
        assert Path(value_at(settings, at)).is_absolute()


@by_path
@pytest.mark.parametrize("source", ["environment", "flag", "secret file"])
def test_a_relative_path_from_elsewhere_begins_at_the_working_directory(
    config: Path,
    elsewhere: Path,
    tmp_path: Path,
    setting: Found,
    source: str,
) -> None:
    at, backend, place = setting
    put(elsewhere, place)
    config.write_text(yaml.safe_dump(tree(at, backend, "/nothing")))
    environ, overrides = {}, {}
    if source == "flag":
        overrides = {".".join(at): "parts/thing"}
    elif source == "environment":
        environ = {env_name(at): "parts/thing"}
    else:
        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets" / env_name(at)).write_text("parts/thing\n")
        environ = {"STREAMLABEL_SECRETS_DIR": str(tmp_path / "secrets")}
    settings = load(config, overrides=overrides, environ=environ).settings
    if at[-2:] == ("model", "task"):
        assert task_at(settings, at).names == ("spam", "ham")
    else:
        assert value_at(settings, at) == str(elsewhere / "parts" / "thing")


@by_path
def test_a_path_where_nothing_is_is_named_with_the_absolute_path_tried(
    config: Path, elsewhere: Path, setting: Found
) -> None:
    at, backend, place = setting
    config.write_text(yaml.safe_dump(tree(at, backend, "./parts/thing")))
    tried = str(config.parent / "parts" / "thing")
    if at[-2:] == ("model", "task"):
        with pytest.raises(ConfigError, match=re.escape(f"task file {tried} does not exist")):
            load(config, overrides={}, environ={})
        return
    settings = load(config, overrides={}, environ={}).settings
    wanted = [item for item in paths_in(settings) if item[0] == ".".join(at)]
    if place.kind == "model":
        model = settings.shadow.model if settings.shadow else settings.model
        assert isinstance(model, NamedModel)
        assert str(model.tried_folder) == tried  # the back end refuses it
    elif place.may_come_later:
        refuse_missing(iter(wanted))
    else:
        refusal = re.escape(f"{'.'.join(at)}: {tried} does not exist; ")
        with pytest.raises(ConfigError, match=refusal):
            refuse_missing(iter(wanted))


@pytest.mark.parametrize(
    ("text", "is_id"),
    [
        ("org/name", True),
        ("name", True),
        ("./name", False),
        ("../name", False),
        ("a/b/c", False),
        ("~/name", False),
        (".", False),
    ],
)
def test_what_can_only_be_a_folder_is_none_of_the_hub(
    config: Path, elsewhere: Path, text: str, is_id: bool
) -> None:
    config.write_text(yaml.safe_dump({"model": {"backend": "encoder", "path": text}}))
    model = load(config, overrides={}, environ={}).settings.model
    assert isinstance(model, NamedModel)
    assert (model.path == text) is is_id
    assert model.tried_folder == config.parent / Path(text).expanduser()


def test_a_folder_wins_over_a_hub_id_of_the_same_name(config: Path, elsewhere: Path) -> None:
    (config.parent / "org" / "name").mkdir(parents=True)
    config.write_text("model: {backend: encoder, path: org/name}")
    model = load(config, overrides={}, environ={}).settings.model
    assert isinstance(model, NamedModel)
    assert model.path == str(config.parent / "org" / "name")


def test_the_folder_of_a_file_that_is_named_relatively_is_found(
    config: Path, elsewhere: Path
) -> None:
    put(config.parent, Place())
    config.write_text(yaml.safe_dump(tree(("routing", "calibration"), "fake", "parts/thing")))
    settings = load(Path("../etc/streamlabel.yaml"), overrides={}, environ={}).settings
    assert settings.routing.calibration is not None
    assert Path(settings.routing.calibration).resolve() == config.parent / "parts" / "thing"
