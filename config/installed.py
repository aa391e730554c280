"""Back ends and formats that other distributions provide, registered as entry points.

A distribution is imported only when the configuration selects what it registers: an unused one
can neither slow down nor break the service.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, Final, Literal

from streamlabel.config.section import BackendSettings, FormatSettings, Section
from streamlabel.errors import ConfigError
from streamlabel.foreign import first_line

__all__ = [
    "GROUPS",
    "Installed",
    "Kind",
    "find",
    "found",
    "how_to_register",
    "names",
    "refuse_own",
]

Kind = Literal["back end", "format"]

GROUPS: Final[Mapping[Kind, str]] = MappingProxyType(
    {"back end": "streamlabel.backends", "format": "streamlabel.decoders"}
)
_BASES: Final = {"back end": BackendSettings, "format": FormatSettings}


@dataclass(frozen=True, slots=True)
class Installed:
    """One back end or format.

    Attributes:
        kind: back end or format.
        name: name of the entry point, by which the configuration selects it.
        distribution: name and version of the distribution that registers it.
        settings: the class that validates its section.
        load: creates the classifier or decoder from the settings.
    """

    kind: Kind
    name: str
    distribution: str
    settings: type[Section]
    load: Callable[..., Any]


# Everything imported in this process. Settings that are loaded later accept these sections, too.
_found: dict[tuple[Kind, str], Installed] = {}


def names(kind: Kind) -> tuple[str, ...]:
    """Return the registered names in alphabetical order; imports nothing."""
    return tuple(sorted(_registered(kind)))


def found(kind: Kind) -> tuple[Installed, ...]:
    """Return those that ``find`` has imported in this process."""
    return tuple(each for (of, _), each in sorted(_found.items()) if of == kind)


def find(kind: Kind, name: str) -> Installed:
    """Import what a distribution registered under ``name``.

    Raises:
        ConfigError: no distribution registers it, several do, or the entry point is broken.
    """
    known = _found.get((kind, name))
    if known is None:
        known = _found[kind, name] = _load(kind, name)
    return known


def refuse_own(kind: Kind, name: str) -> None:
    """Refuse distributions that register the built-in name that the settings select.

    Raises:
        ConfigError: there is such a distribution.
    """
    others = _registered(kind).get(name, ())
    if others:
        raise ConfigError(
            f"{name} is built into streamlabel, and {_named(others)} registers another {kind} with"
            " that name; uninstall that distribution, or ask its author to rename it"
        )


def how_to_register(kind: Kind) -> str:
    """Return how to add a back end or format, as the end of an error message."""
    return f"to add one, register an entry point in the group {GROUPS[kind]} (docs/own-backend.md)"


@cache
def _registered(kind: Kind) -> dict[str, tuple[EntryPoint, ...]]:
    registered: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=GROUPS[kind]):
        registered[point.name] = (*registered.get(point.name, ()), point)
    return registered


def _load(kind: Kind, name: str) -> Installed:
    points = _registered(kind).get(name, ())
    if not points:
        raise ConfigError(f"no installed distribution registers a {kind} {name}")
    if len(points) > 1:
        raise ConfigError(
            f"{name} is registered by {_named(points)}; uninstall all but one of them"
        )
    (point,) = points
    who = f"the entry point {point.value} of {_named(points)}"
    try:
        value = point.load()
    except Exception as error:
        raise ConfigError(
            f"{who} cannot be imported: {first_line(error)}; repair or uninstall that distribution"
        ) from error
    problem = _problem(kind, name, value)
    if problem:
        raise ConfigError(f"{who} {problem}; repair or uninstall that distribution")
    return Installed(kind, name, _named(points), value.settings, value.load)


def _problem(kind: Kind, name: str, value: Any) -> str | None:  # noqa: ANN401 whatever it is
    """Return what is wrong with an entry point's value, as the rest of a sentence."""
    settings, base = getattr(value, "settings", None), _BASES[kind]
    if settings is None or not callable(getattr(value, "load", None)):
        return f"is a {type(value).__name__} without settings and load"
    if not (isinstance(settings, type) and issubclass(settings, base)):
        return f"has settings that are not a subclass of streamlabel.api.{base.__name__}"
    if kind == "format":
        return None
    tag = settings.model_fields.get("backend")
    if tag is None or tag.default != name:
        return f'has settings without backend: Literal["{name}"] = "{name}"'
    return None


def _named(points: Sequence[EntryPoint]) -> str:
    return " and ".join(
        f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed distribution"
        for point in points
    )
