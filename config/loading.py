"""Merges the settings of all sources, each overriding the one before, and validates the result."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from streamlabel.config import installed
from streamlabel.config.catalog import Path, choice_at, sections_below
from streamlabel.config.named_model import NamedModel
from streamlabel.config.problems import sentence
from streamlabel.config.section import Section
from streamlabel.config.settings import Settings
from streamlabel.config.sources import (
    Given,
    Origin,
    from_file,
    from_flags,
    from_variables,
    secret_files,
)
from streamlabel.errors import ConfigError

__all__ = ["Loaded", "Origin", "load"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Valid settings.

    Attributes:
        origins: dotted path -> origin, for every value; a mapping has one per key.
    """

    settings: Settings
    origins: Mapping[str, Origin]


_DEFAULT = Origin("default")


def load(
    path: FilePath | None, *, overrides: Mapping[str, str], environ: Mapping[str, str]
) -> Loaded:
    """Return the settings of ``path``, overridden by the environment, overridden by flags.

    Args:
        path: the YAML file; None: only the environment and flags are read.
        overrides: dotted path -> text, as after ``--set``; lists and mappings as JSON.
        environ: ``STREAMLABEL__KAFKA__GROUP_ID`` sets ``kafka.group_id``. The files in the folder
            that ``STREAMLABEL_SECRETS_DIR`` names are read as variables, below the environment.
            ``${NAME}`` in the file is replaced from here, too.

    Raises:
        ConfigError: the message has one line per problem, and never the value of a secret.
    """
    given, problems = _read(path, overrides, environ)
    if _import_installed(given):  # how values are read depends on the types of their settings
        given, problems = _read(path, overrides, environ)
    if problems:
        raise ConfigError("\n".join(problems))
    tree, origins = _merge(given)
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        details = error.errors(include_url=False)
    else:
        _note_folder(settings, origins, path)
        return Loaded(settings, dict(_origins(settings, origins)))
    # outside the handler: pydantic's error holds every input, secrets too, and must not be chained
    lines = [sentence(detail, origin=lambda at: _nearest_origin(at, origins)) for detail in details]
    raise ConfigError("\n".join(dict.fromkeys(lines)))


def _read(
    path: FilePath | None, overrides: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[list[Given], list[str]]:
    """Return the values of all sources in ascending precedence, and the problems found."""
    problems: list[str] = []
    given = [
        *from_file(path, environ, problems),
        *from_variables(secret_files(environ), problems, in_files=True),
        *from_variables(environ, problems, in_files=False),
        *from_flags(overrides, problems),
    ]
    return given, problems


def _import_installed(given: list[Given]) -> bool:
    """Import the selected back end and format if other distributions provide them."""
    named = {at: value for item in given for at, value in _values(item.path, item.value)}
    imported = False
    for path, name in named.items():
        kind = choice_at(path)
        if kind is not None and isinstance(name, str) and name in installed.names(kind):
            # errors are reported when the settings are validated
            with suppress(ConfigError):
                installed.find(kind, name)
                imported = True
    return imported


def _values(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:  # noqa: ANN401 any value
    """Yield the single values in mappings and lists, with their paths."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from _values((*path, str(key)), inner)
    else:
        yield path, value


def _note_folder(settings: Settings, origins: Mapping[Path, Origin], file: FilePath | None) -> None:
    """If the model's path was taken as a hub id, note where a folder of that name would be."""
    for path, model in _models(settings, ()):
        if FilePath(model.path).is_absolute():
            continue
        at = (*path, "path")
        is_from_file = _origin(at, origins).kind == "file" and file is not None
        base = file.expanduser().absolute().parent if is_from_file and file else FilePath.cwd()
        model.looked_for(base / model.path)


def _models(section: Section, above: Path) -> Iterator[tuple[Path, NamedModel]]:
    for name in type(section).model_fields:
        for at, inner in sections_below(getattr(section, name)):
            here = (*above, name, *at)
            if isinstance(inner, NamedModel):
                yield here, inner
            else:
                yield from _models(inner, here)


def _merge(given: list[Given]) -> tuple[dict[str, Any], dict[Path, Origin]]:
    """Later values replace earlier ones; ``thresholds.spam`` changes one key of a mapping."""
    tree: dict[str, Any] = {}
    origins: dict[Path, Origin] = {}
    for item in given:
        *parents, name = item.path
        inner: Any = tree
        for parent in parents:
            found = _element(inner, parent, item)
            if not isinstance(found, dict | list):
                found = {}
                _put(inner, parent, found, item)
            inner = found
        _put(inner, name, deepcopy(item.value), item)
        for below in [at for at in origins if at[: len(item.path)] == item.path]:
            del origins[below]
        origins[item.path] = item.origin
    return tree, origins


def _element(inner: Any, name: str, item: Given) -> Any:  # noqa: ANN401 any value
    """Return what a mapping or list contains; None: nothing yet.

    Raises:
        ConfigError: a list has no such element.
    """
    if isinstance(inner, dict):
        return inner.get(name)
    if name.isdecimal() and int(name) < len(inner):
        return inner[int(name)]
    raise ConfigError(
        f"{'.'.join(item.path)}: the list has {len(inner)} elements, counted from 0; set one of"
        f" them, or the whole list as JSON ({item.origin})"
    )


def _put(inner: Any, name: str, value: Any, item: Given) -> None:  # noqa: ANN401 any value
    if isinstance(inner, dict):
        inner[name] = value
    else:
        _element(inner, name, item)  # it is there
        inner[int(name)] = value


def _nearest_origin(path: Path, origins: Mapping[Path, Origin]) -> str:
    """Return where ``path``, or the value it is a part of, was given; "" if nowhere."""
    for length in range(len(path), 0, -1):
        if path[:length] in origins:
            return str(origins[path[:length]])
    below = [origin for at, origin in origins.items() if path and at[: len(path)] == path]
    return str(below[0]) if below else ""


def _origin(path: Path, given: Mapping[Path, Origin]) -> Origin:
    """Return where a value was given: itself, or the list or mapping that contains it."""
    above = (path[:length] for length in range(len(path), 0, -1))
    return next((given[at] for at in above if at in given), _DEFAULT)


def _origins(
    section: Section, given: Mapping[Path, Origin], path: Path = ()
) -> Iterator[tuple[str, Origin]]:
    for name in type(section).model_fields:
        here = (*path, name)
        value = getattr(section, name)
        if inner := sections_below(value):
            for at, each in inner:
                yield from _origins(each, given, (*here, *at))
            continue
        whole = _origin(here, given) if name in section.model_fields_set else _DEFAULT
        if isinstance(value, dict) and value:
            for key in value:
                yield ".".join((*here, key)), given.get((*here, key), whole)
        else:
            yield ".".join(here), whole
