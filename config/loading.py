"""Settings from all their sources, each overriding the one before, validated as a whole."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from streamlabel.config.catalog import Path
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
        path: the YAML file; None: the environment and flags say everything.
        overrides: dotted path -> text, as after ``--set``; lists and mappings as JSON.
        environ: ``STREAMLABEL__KAFKA__GROUP_ID`` sets ``kafka.group_id``. The files in the folder
            that ``STREAMLABEL_SECRETS_DIR`` names are read as variables, below the environment.

    Raises:
        ConfigError: one sentence per problem, one a line; a secret's value is in none of them.
    """
    problems: list[str] = []
    given = [
        *from_file(path),
        *from_variables(secret_files(environ), problems, in_files=True),
        *from_variables(environ, problems, in_files=False),
        *from_flags(overrides, problems),
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


def _merge(given: list[Given]) -> tuple[dict[str, Any], dict[Path, Origin]]:
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
