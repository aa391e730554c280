"""All settings with path, type, default and description, read from the pydantic models."""

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from streamlabel.config import installed
from streamlabel.config.annotations import parts_of, type_text
from streamlabel.config.places import Place, place_in
from streamlabel.config.section import Section
from streamlabel.config.settings import Settings

__all__ = [
    "ENV_PREFIX",
    "SECTIONS",
    "Entry",
    "Path",
    "annotations_at",
    "choice_at",
    "entries",
    "entries_in_use",
    "env_name",
    "is_of_sections",
    "parts_of",
    "paths_in",
    "sections_below",
    "sections_in",
    "takes_none",
]

ENV_PREFIX = "STREAMLABEL__"

Path = tuple[str, ...]

# Sections that another distribution may provide; * is any name or number.
SECTIONS: Final[Mapping[Path, installed.Kind]] = MappingProxyType(
    {
        ("model",): "back end",
        ("cascade", "*", "model"): "back end",
        ("shadow", "model"): "back end",
        ("tasks", "*", "model"): "back end",
        ("tasks", "*", "cascade", "*", "model"): "back end",
        ("input", "decoder"): "format",
    }
)
# The settings that select one.
_CHOICES: Final[Mapping[str, installed.Kind]] = MappingProxyType(
    {"backend": "back end", "format": "format"}
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting.

    Attributes:
        path: its place in the configuration, for example ``("kafka", "group_id")``.
        backend: the model back end that has it; None outside ``model``.
        annotation: its type.
        default: None if ``required``.
        description: what it does.
        required: whether it has no default.
    """

    path: Path
    backend: str | None
    annotation: Any
    default: Any
    description: str
    required: bool

    @property
    def name(self) -> str:
        """The dotted path."""
        return ".".join(self.path)

    @property
    def type_text(self) -> str:
        """The type as an operator reads it."""
        return type_text(self.annotation)


def env_name(path: Path) -> str:
    """Return the environment variable that sets ``path``."""
    return ENV_PREFIX + "__".join(path).upper()


def sections_in(annotation: Any) -> tuple[type[Section], ...]:  # noqa: ANN401 any type annotation
    """Return the sections in an annotation: one, several for a choice of back ends, or none."""
    return tuple(
        part
        for part in parts_of(annotation)
        if isinstance(part, type) and issubclass(part, Section)
    )


def is_of_sections(annotation: Any) -> bool:  # noqa: ANN401 any type annotation
    """Return whether a setting is a mapping of names to sections."""
    mappings = (part for part in parts_of(annotation) if get_origin(part) is dict)
    return any(sections_in(get_args(part)[-1]) for part in mappings)


def annotations_at(path: Path) -> tuple[Any, ...]:
    """Return the types that ``path`` may have (one per back end that has it); empty if unknown.

    A key of a mapping (``routing.thresholds.spam``) has the type of the mapping's values, an
    element of a list (``model.labels.0``) that of the list's elements. Back ends and formats of
    other distributions are included once they are imported.
    """
    return _annotations_at(path, _from_others())


def choice_at(path: Path) -> installed.Kind | None:
    """Return what another distribution may provide under the value of ``path``; None: nothing."""
    kind = _CHOICES.get(path[-1])
    section = path if kind == "format" else path[:-1]
    where = ("input", "decoder") if section == ("input", "format") else section
    return kind if any(_fits(where, each) for each in SECTIONS) else None


def _fits(path: Path, pattern: Path) -> bool:
    return len(path) == len(pattern) and all(
        part in {"*", name} for name, part in zip(path, pattern, strict=True)
    )


def _from_others() -> tuple[tuple[Path, type[Section]], ...]:
    return tuple(
        (path, each.settings) for path, kind in SECTIONS.items() for each in installed.found(kind)
    )


@cache
def _annotations_at(path: Path, others: tuple[tuple[Path, type[Section]], ...]) -> tuple[Any, ...]:
    found: list[Any] = [Settings]
    for depth, name in enumerate(path, start=1):
        deeper: list[Any] = []
        for annotation in found:
            sections = sections_in(annotation)
            deeper += [
                _annotation(section.model_fields[name])
                for section in sections
                if name in section.model_fields
            ]
            if not sections:
                deeper += [
                    get_args(part)[-1]
                    for part in parts_of(annotation)
                    if get_origin(part) is dict or (get_origin(part) is list and name.isdecimal())
                ]
        found = deeper + [section for at, section in others if _fits(path[:depth], at)]
    return tuple(found)


@cache
def entries() -> tuple[Entry, ...]:
    """Return every built-in setting in the order of definition, one back end after the other."""
    return tuple(_entries(Settings, (), None))


def entries_in_use() -> tuple[Entry, ...]:
    """Return every built-in setting, and those of imported back ends and formats of others."""
    others = (
        entry
        for path, section in _from_others()
        for entry in _entries(section, path, _backend_of(section))
        if "*" not in path
    )
    return (*entries(), *others)


def _backend_of(section: type[Section]) -> str | None:
    tag = section.model_fields.get("backend")
    return str(tag.default) if tag else None


def _entries(section: type[Section], path: Path, backend: str | None) -> Iterator[Entry]:
    # the discriminator comes first
    fields = sorted(section.model_fields.items(), key=lambda item: item[0] != "backend")
    for name, field in fields:
        here = (*path, name)
        # A section that is left out by default is one setting, like a list of sections.
        is_left_out = not path and takes_none(field.annotation) and _default(field) is None
        inner = [] if is_left_out else [p for p in sections_in(field.annotation) if p.model_fields]
        for part in inner:
            yield from _entries(part, here, _backend_of(part) or backend)
        if not inner:
            yield Entry(
                path=here,
                backend=backend,
                annotation=_annotation(field),
                default=None if field.is_required() else _default(field),
                description=field.description or "",
                required=field.is_required(),
            )


def paths_in(section: Section, above: Path = ()) -> Iterator[tuple[str, str, Place]]:
    """Yield dotted name, path and kind of every setting with a value that names a file or folder.

    The path of a task file is not included: the content of the file has replaced it.
    """
    for name, field in type(section).model_fields.items():
        here = (*above, name)
        value = getattr(section, name)
        place = place_in(_annotation(field))
        if inner := sections_below(value):
            for at, each in inner:
                yield from paths_in(each, (*here, *at))
        elif place is not None and isinstance(value, dict):
            yield from ((".".join((*here, key)), str(each), place) for key, each in value.items())
        elif place is not None and value is not None:
            yield ".".join(here), str(value), place


def sections_below(value: Any) -> list[tuple[Path, Section]]:  # noqa: ANN401 any value
    """Return the sections that a value is or contains, with their paths in it; empty: none."""
    if isinstance(value, Section):
        return [((), value)]
    if isinstance(value, dict):
        return [((key,), each) for key, each in value.items() if isinstance(each, Section)]
    if isinstance(value, list):
        return [((str(i),), each) for i, each in enumerate(value) if isinstance(each, Section)]
    return []


def _annotation(field: FieldInfo) -> Any:  # noqa: ANN401 any type annotation
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _default(field: FieldInfo) -> Any:  # noqa: ANN401 any default
    default = field.get_default(call_default_factory=True, validated_data={})
    return None if default is PydanticUndefined else default


def takes_none(annotation: Any) -> bool:  # noqa: ANN401 any type annotation
    """Return True if the setting may be left empty (null)."""
    if get_origin(annotation) in {Annotated, Union, types.UnionType}:
        return any(part is types.NoneType or takes_none(part) for part in get_args(annotation))
    return False
