"""Settings from one YAML file, secret files, the environment and flags; each overrides the last.

Every source is read in the same way, into (path, value, origin), so that an unknown name is
refused wherever it stands and ``streamlabel config show`` can say where each value comes from.
pydantic-settings does neither: it drops unknown environment variables in silence, folds the case of
labels, and knows no origins.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Literal, get_origin

from pydantic import ValidationError

from streamlabel.config import yaml_file
from streamlabel.config.catalog import (
    ENV_PREFIX,
    Path,
    annotations_at,
    env_name,
    parts_of,
    sections_in,
    takes_none,
)
from streamlabel.config.problems import is_secret, nearest_setting, sentence
from streamlabel.config.section import Section
from streamlabel.config.settings import Settings
from streamlabel.errors import ConfigError

__all__ = ["SECRETS_DIR", "Loaded", "Origin", "load"]

SECRETS_DIR = "STREAMLABEL_SECRETS_DIR"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from; ``where`` is a file and line, a variable or a flag."""

    kind: Literal["default", "file", "secret file", "environment", "flag"]
    where: str = ""

    def __str__(self) -> str:
        return self.where or self.kind


@dataclass(frozen=True, slots=True)
class Loaded:
    """Valid settings.

    Attributes:
        origins: dotted path -> origin, for every value; a mapping has one per key.
    """

    settings: Settings
    origins: Mapping[str, Origin]


@dataclass(frozen=True, slots=True)
class _Given:
    path: Path
    value: Any
    origin: Origin


_DEFAULT = Origin("default")


def load(
    path: FilePath | None, *, overrides: Mapping[str, str], environ: Mapping[str, str]
) -> Loaded:
    """Return the settings of ``path``, overridden by the environment, overridden by flags.

    Args:
        path: the YAML file; None: the environment and flags say everything.
        overrides: dotted path -> text, as after ``--set``; lists and mappings as JSON.
        environ: ``STREAMLABEL__KAFKA__GROUP_ID`` sets ``kafka.group_id``. The files in the folder
            that ``STREAMLABEL_SECRETS_DIR`` names are read as variables, below the environment.

    Raises:
        ConfigError: one sentence per problem, one a line; a secret's value is in none of them.
    """
    problems: list[str] = []
    given = [
        *_from_file(path),
        *_from_variables(_secret_files(environ), problems, secret_files=True),
        *_from_variables(environ, problems, secret_files=False),
        *_from_flags(overrides, problems),
    ]
    if problems:
        raise ConfigError("\n".join(problems))
    tree, origins = _merge(given)
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        details = error.errors(include_url=False)
    else:
        return Loaded(settings, dict(_origins(settings, origins)))
    # outside the handler: pydantic's error holds every input, secrets too, and must not be chained
    lines = [sentence(detail, origin=lambda at: _nearest_origin(at, origins)) for detail in details]
    raise ConfigError("\n".join(dict.fromkeys(lines)))


def _from_file(path: FilePath | None) -> Iterator[_Given]:
    if path is None:
        return
    document = yaml_file.read(path)

    def origin(at: Path) -> Origin:
        return Origin("file", f"{path}:{document.lines.get(at, 1)}")

    for at, value in _leaves((), document.tree):
        yield _Given(at, value, origin(at))


def _secret_files(environ: Mapping[str, str]) -> dict[str, str]:
    """Return name -> content of the secret files; Kubernetes' own dot files are no secrets."""
    folder = environ.get(SECRETS_DIR)
    if not folder:
        return {}
    found: dict[str, str] = {}
    try:
        for file in sorted(FilePath(folder).iterdir()):
            if file.name.upper().startswith("STREAMLABEL_") and file.is_file():
                found[file.name] = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "a file is not UTF-8"
        raise ConfigError(f"{SECRETS_DIR}: {folder} cannot be read ({reason})") from None
    return found


def _from_variables(
    variables: Mapping[str, str], problems: list[str], *, secret_files: bool
) -> Iterator[_Given]:
    for name in sorted(variables):
        upper = name.upper()
        if not upper.startswith(ENV_PREFIX):
            problems += _misspelt_prefix(upper)
            continue
        path = _known_case(tuple(name[len(ENV_PREFIX) :].split("__")))
        kind: Literal["secret file", "environment"] = "environment"
        where = name
        if secret_files:
            kind, where = "secret file", f"secret file {name}"
        yield from _from_text(path, variables[name], Origin(kind, where), problems)


def _from_flags(overrides: Mapping[str, str], problems: list[str]) -> Iterator[_Given]:
    for dotted, text in overrides.items():
        path = tuple(dotted.split("."))
        for given in _from_text(path, text, Origin("flag", f"--set {dotted}"), problems):
            if is_secret(given.path):
                name = ".".join(given.path)
                problems.append(
                    f"{name}: a secret in a flag can be read in the list of processes; use the"
                    f" variable {env_name(given.path)} or a file in {SECRETS_DIR}"
                )
            else:
                yield given


def _misspelt_prefix(name: str) -> list[str]:
    """STREAMLABEL_KAFKA__GROUP_ID would be ignored; Kubernetes' STREAMLABEL_PORT is not meant."""
    prefix = ENV_PREFIX.removesuffix("_")
    if not name.startswith(prefix) or "__" not in name:
        return []
    section = name.removeprefix(prefix).split("__")[0].lower()
    if section not in Settings.model_fields:
        return []
    right = ENV_PREFIX + name.removeprefix(prefix)
    return [f"{name}: unknown variable; did you mean {right} (two underscores after the prefix)?"]


def _known_case(path: Path) -> Path:
    """Variables are upper case, settings lower case; a label in ``thresholds`` keeps its case."""
    known: Path = ()
    for part in path:
        parts = [part for annotation in annotations_at(known) for part in parts_of(annotation)]
        keeps_case = any(get_origin(part) is dict for part in parts)
        known = (*known, part if keeps_case else part.lower())
    return known


def _from_text(path: Path, text: str, origin: Origin, problems: list[str]) -> Iterator[_Given]:
    """Read text as the setting's type wants it: JSON for lists, mappings and whole sections."""
    annotations = annotations_at(path)
    if not annotations and _is_value(path[:-1]):
        advice = nearest_setting(path)
        problems.append(f"{'.'.join(path)}: unknown setting; {advice} ({origin})")
        return
    value: Any = text
    if any(_wants_json(annotation, text) for annotation in annotations):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            problems.append(
                f"{'.'.join(path)}: must be JSON, for example {_example(path)} ({origin})"
            )
            return
    elif text == "null" and any(map(takes_none, annotations)):
        value = None
    for at, leaf in _leaves(path, value):
        yield _Given(at, leaf, origin)


def _is_value(path: Path) -> bool:
    """Return True if ``path`` is a setting, not a section."""
    return any(not sections_in(annotation) for annotation in annotations_at(path))


def _example(path: Path) -> str:
    annotation = str(annotations_at(path))
    return '["a", "b"]' if "list[" in annotation else '{"name": 0.5}'


def _wants_json(annotation: Any, text: str) -> bool:  # noqa: ANN401 any type annotation
    if any(get_origin(part) in {list, dict} for part in parts_of(annotation)):
        return True
    # a section may also be the path of a file that holds it
    return bool(sections_in(annotation)) and text.lstrip().startswith("{")


def _leaves(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:  # noqa: ANN401 any value
    """Take sections apart; an empty section (``kafka:`` and nothing below) says nothing."""
    annotations = annotations_at(path)
    is_section = any(sections_in(annotation) for annotation in annotations)
    if is_section and value is None and not any(map(takes_none, annotations)):
        return
    if is_section and isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves((*path, str(name)), inner)
    else:
        yield path, value


def _merge(given: list[_Given]) -> tuple[dict[str, Any], dict[Path, Origin]]:
    """Later values replace earlier ones; ``thresholds.spam`` changes one key of a mapping."""
    tree: dict[str, Any] = {}
    origins: dict[Path, Origin] = {}
    for item in given:
        *parents, name = item.path
        inner = tree
        for parent in parents:
            if not isinstance(inner.get(parent), dict):
                inner[parent] = {}
            inner = inner[parent]
        inner[name] = dict(item.value) if isinstance(item.value, dict) else item.value
        for below in [at for at in origins if at[: len(item.path)] == item.path]:
            del origins[below]
        origins[item.path] = item.origin
    return tree, origins


def _nearest_origin(path: Path, origins: Mapping[Path, Origin]) -> str:
    """Return where ``path``, or the value it is a part of, was given; "" if nowhere."""
    for length in range(len(path), 0, -1):
        if path[:length] in origins:
            return str(origins[path[:length]])
    below = [origin for at, origin in origins.items() if path and at[: len(path)] == path]
    return str(below[0]) if below else ""


def _origins(
    section: Section, given: Mapping[Path, Origin], path: Path = ()
) -> Iterator[tuple[str, Origin]]:
    for name in type(section).model_fields:
        here = (*path, name)
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _origins(value, given, here)
            continue
        whole = given.get(here, _DEFAULT)
        if isinstance(value, dict) and value:
            for key in value:
                yield ".".join((*here, key)), given.get((*here, key), whole)
        else:
            yield ".".join(here), whole
