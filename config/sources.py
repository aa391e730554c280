"""Where settings come from: a YAML file, secret files, the environment and flags.

Every source is read in the same way, into (path, value, origin), so that an unknown name is
refused in every source and ``streamlabel config show`` can print where each value comes from.
pydantic-settings does neither: it silently drops unknown environment variables, changes labels to
lower case, and does not record
origins.
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
    is_of_sections,
    parts_of,
    sections_in,
    takes_none,
)
from streamlabel.config.foreign_names import is_service_link, unknown_names
from streamlabel.config.interpolation import InterpolationError, interpolated
from streamlabel.config.places import absolute, place_in
from streamlabel.config.problems import is_secret, nearest_setting
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


def from_file(
    path: FilePath | None, environ: Mapping[str, str], problems: list[str]
) -> Iterator[Given]:
    """Yield the values of a YAML file, variables replaced; append errors to ``problems``.

    Raises:
        ConfigError: the file cannot be read.
    """
    if path is None:
        return
    document = yaml_file.read(path)
    base = path.expanduser().absolute().parent
    for at, value in _leaves((), document.tree):
        origin = Origin("file", f"{path}:{document.lines.get(at, 1)}")
        try:
            filled = _filled(value, environ)
        except InterpolationError as error:
            problems.append(f"{'.'.join(at)}: {_unfilled(at, value, error)} ({origin})")
            continue
        if filled == value or not isinstance(value, str):
            yield _located(Given(at, filled, origin), base)
        else:  # a replaced value is parsed like an environment variable
            for given in _from_text(at, filled, origin, problems):
                yield _located(given, base)


def _filled(value: Any, environ: Mapping[str, str]) -> Any:  # noqa: ANN401 any value
    if isinstance(value, str):
        return interpolated(value, environ)
    if isinstance(value, list):
        return [_filled(item, environ) for item in value]
    if isinstance(value, dict):
        return {key: _filled(item, environ) for key, item in value.items()}
    return value


def _unfilled(at: Path, value: Any, error: InterpolationError) -> str:  # noqa: ANN401 any value
    """Return the error message; of a secret, which may contain ``${``, it quotes nothing."""
    may_be_shown = not is_secret(at) or value == f"${{{error.name}}}"
    if error.name is not None and may_be_shown:
        return (
            f"the variable {error.name} is not set; set it, or write ${{{error.name}:-default}},"
            " or $${ for a literal ${"
        )
    if error.name is not None:
        return "a variable in it is not set; set it, or write $${ for a literal ${"
    return "${ without a variable; write ${NAME} or ${NAME:-default}, or $${ for a literal ${"


def _located(given: Given, base: FilePath) -> Given:
    """Make paths absolute; a relative one starts at ``base``."""
    return Given(given.path, _absolute_in(given.path, given.value, base), given.origin)


def _absolute_in(path: Path, value: Any, base: FilePath) -> Any:  # noqa: ANN401 any value
    """Return a value with every path in it made absolute, those of sections in lists included."""
    if isinstance(value, list):
        return [_absolute_in((*path, str(i)), item, base) for i, item in enumerate(value)]
    if isinstance(value, dict):
        return {key: _absolute_in((*path, key), item, base) for key, item in value.items()}
    places = [place for each in annotations_at(path) if (place := place_in(each))]
    return (
        absolute(value, places[0], base=base)
        if places and value and isinstance(value, str)
        else value
    )


def secret_files(environ: Mapping[str, str]) -> dict[str, str]:
    """Return name -> content of the secret files, without the dot files that Kubernetes adds."""
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
    """Yield the values of variables, or of files named like them; append errors to ``problems``."""
    problems += unknown_names(variables, where="secret file" if in_files else "variable")
    for name in sorted(variables):
        upper = name.upper()
        if not upper.startswith(ENV_PREFIX):
            continue
        path = _known_case(tuple(name[len(ENV_PREFIX) :].split("__")))
        if not annotations_at(path) and is_service_link(name, variables[name]):
            continue
        kind: Literal["secret file", "environment"] = "environment"
        where = name
        if in_files:
            kind, where = "secret file", f"secret file {name}"
        for given in _from_text(path, variables[name], Origin(kind, where), problems):
            yield _located(given, FilePath.cwd())


def from_flags(overrides: Mapping[str, str], problems: list[str]) -> Iterator[Given]:
    """Yield the values of flags; append errors, and refusals of secrets, to ``problems``."""
    for dotted, text in overrides.items():
        path = tuple(dotted.split("."))
        for given in _from_text(path, text, Origin("flag", f"--set {dotted}"), problems):
            if is_secret(given.path):
                name = ".".join(given.path)
                problems.append(
                    f"{name}: secrets in flags are visible in the list of processes; use the"
                    f" variable {env_name(given.path)} or a file in {SECRETS_DIR}"
                )
            else:
                yield _located(given, FilePath.cwd())


def _known_case(path: Path) -> Path:
    """Return a variable's path in lower case, like settings; keep the case of labels."""
    known: Path = ()
    for part in path:
        parts = [part for annotation in annotations_at(known) for part in parts_of(annotation)]
        keeps_case = any(get_origin(part) is dict for part in parts)
        known = (*known, part if keeps_case else part.lower())
    return known


def _from_text(path: Path, text: str, origin: Origin, problems: list[str]) -> Iterator[Given]:
    """Parse text by the setting's type: as JSON for lists, mappings and whole sections."""
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
    """Yield the values in a section; an empty one (``kafka:`` and nothing below) has none."""
    annotations = annotations_at(path)
    is_section = any(sections_in(annotation) for annotation in annotations)
    if is_section and value is None and not any(map(takes_none, annotations)):
        return
    are_sections = any(map(is_of_sections, annotations))
    if (is_section or (are_sections and value)) and isinstance(value, dict):
        for name, inner in value.items():
            if are_sections and not inner:  # its name alone says that it is wanted
                yield (*path, str(name)), {}
            yield from _leaves((*path, str(name)), inner)
    else:
        yield path, value
