"""Where settings come from: a YAML file, secret files, the environment and flags.

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
from streamlabel.config.problems import is_secret, nearest_setting
from streamlabel.config.settings import Settings
from streamlabel.errors import ConfigError

__all__ = [
    "SECRETS_DIR",
    "Given",
    "Origin",
    "from_file",
    "from_flags",
    "from_variables",
    "secret_files",
]

SECRETS_DIR = "STREAMLABEL_SECRETS_DIR"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from; ``where`` is a file and line, a variable or a flag."""

    kind: Literal["default", "file", "secret file", "environment", "flag"]
    where: str = ""

    def __str__(self) -> str:
        return self.where or self.kind


@dataclass(frozen=True, slots=True)
class Given:
    """One value that one source gives."""

    path: Path
    value: Any
    origin: Origin


def from_file(path: FilePath | None) -> Iterator[Given]:
    """Yield what a YAML file says. Raises ConfigError if it cannot be read."""
    if path is None:
        return
    document = yaml_file.read(path)

    def origin(at: Path) -> Origin:
        return Origin("file", f"{path}:{document.lines.get(at, 1)}")

    for at, value in _leaves((), document.tree):
        yield Given(at, value, origin(at))


def secret_files(environ: Mapping[str, str]) -> dict[str, str]:
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


def from_variables(
    variables: Mapping[str, str], problems: list[str], *, in_files: bool
) -> Iterator[Given]:
    """Yield what variables, or files named like them, say; add what is wrong to ``problems``."""
    for name in sorted(variables):
        upper = name.upper()
        if not upper.startswith(ENV_PREFIX):
            problems += _misspelt_prefix(upper)
            continue
        path = _known_case(tuple(name[len(ENV_PREFIX) :].split("__")))
        kind: Literal["secret file", "environment"] = "environment"
        where = name
        if in_files:
            kind, where = "secret file", f"secret file {name}"
        yield from _from_text(path, variables[name], Origin(kind, where), problems)


def from_flags(overrides: Mapping[str, str], problems: list[str]) -> Iterator[Given]:
    """Yield what flags say; add what is wrong, secrets among them, to ``problems``."""
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


def _from_text(path: Path, text: str, origin: Origin, problems: list[str]) -> Iterator[Given]:
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
        yield Given(at, leaf, origin)


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
