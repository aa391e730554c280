"""Every setting there is: its path, type, default and description, read from the models."""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from streamlabel.config.section import Section
from streamlabel.config.settings import Settings

__all__ = [
    "ENV_PREFIX",
    "Entry",
    "Path",
    "annotations_at",
    "entries",
    "env_name",
    "parts_of",
    "sections_in",
    "takes_none",
]

ENV_PREFIX = "STREAMLABEL__"

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting.

    Attributes:
        path: where it stands, for example ``("kafka", "group_id")``.
        backend: the model back end that has it; None outside ``model``.
        annotation: its type.
        default: as in the code; None with ``required``.
        description: what it does.
        required: it has no default.
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
        return _type_text(self.annotation)


def env_name(path: Path) -> str:
    """Return the environment variable that sets ``path``."""
    return ENV_PREFIX + "__".join(path).upper()


def sections_in(annotation: Any) -> tuple[type[Section], ...]:  # noqa: ANN401 any type annotation
    """Return the section an annotation stands for; several for a choice of back ends; or none."""
    return tuple(
        part
        for part in parts_of(annotation)
        if isinstance(part, type) and issubclass(part, Section)
    )


@cache
def annotations_at(path: Path) -> tuple[Any, ...]:
    """Return the types that ``path`` may have (one per back end that has it); empty if unknown.

    A key of a mapping (``routing.thresholds.spam``) has the type of the mapping's values, a place
    in a list (``model.labels.0``) that of its elements.
    """
    found: list[Any] = [Settings]
    for name in path:
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
        found = deeper
    return tuple(found)


@cache
def entries() -> tuple[Entry, ...]:
    """Return every setting in the order of the code, the back ends of ``model`` one by one."""
    return tuple(_entries(Settings, (), None))


def _entries(section: type[Section], path: Path, backend: str | None) -> Iterator[Entry]:
    # what tells the back ends apart comes first
    fields = sorted(section.model_fields.items(), key=lambda item: item[0] != "backend")
    for name, field in fields:
        here = (*path, name)
        inner = sections_in(field.annotation)
        for part in inner:
            tag = part.model_fields.get(str(field.discriminator)) if field.discriminator else None
            yield from _entries(part, here, str(tag.default) if tag else backend)
        if not inner:
            yield Entry(
                path=here,
                backend=backend,
                annotation=_annotation(field),
                default=None if field.is_required() else _default(field),
                description=field.description or "",
                required=field.is_required(),
            )


def _annotation(field: FieldInfo) -> Any:  # noqa: ANN401 any type annotation
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _default(field: FieldInfo) -> Any:  # noqa: ANN401 any default
    default = field.get_default(call_default_factory=True, validated_data={})
    return None if default is PydanticUndefined else default


def parts_of(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 any type annotation
    """Yield what a value may be: the annotation without Annotated, unions and None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from parts_of(get_args(annotation)[0])
    elif origin in {Union, types.UnionType}:
        for part in get_args(annotation):
            yield from parts_of(part)
    elif annotation is not types.NoneType:
        yield annotation


def takes_none(annotation: Any) -> bool:  # noqa: ANN401 any type annotation
    """Return True if the setting may be left empty (null)."""
    if get_origin(annotation) in {Annotated, Union, types.UnionType}:
        return any(part is types.NoneType or takes_none(part) for part in get_args(annotation))
    return False


_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def _type_text(annotation: Any) -> str:  # noqa: ANN401 any type annotation
    texts = []
    for part in parts_of(annotation):
        origin, args = get_origin(part), get_args(part)
        if origin is Literal:
            texts.append(", ".join(str(arg) for arg in args))
        elif origin is list:
            texts.append(f"list of {_type_text(args[0])}")
        elif origin is dict:
            texts.append(f"mapping of {_type_text(args[0])} to {_type_text(args[1])}")
        elif part is SecretStr:
            texts.append("secret text")
        elif isinstance(part, type) and issubclass(part, Section):
            texts.append(f"mappings with {', '.join(part.model_fields)}")
        else:
            texts.append(_NAMES.get(part, str(getattr(part, "__name__", part)).lower()))
    limits = [text for item in _metadata(annotation) for text in _limit_texts(item)]
    return ", ".join([" or ".join(texts), *limits])


def _metadata(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 any type annotation
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        yield from _metadata(inner)
        for item in metadata:
            yield from item.metadata if isinstance(item, FieldInfo) else (item,)
    elif get_origin(annotation) in {Union, types.UnionType}:
        for part in get_args(annotation):
            yield from _metadata(part)


_LIMITS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def _limit_texts(constraint: Any) -> list[str]:  # noqa: ANN401 any constraint object
    return [
        f"{sign} {getattr(constraint, name)}"
        for name, sign in _LIMITS.items()
        if getattr(constraint, name, None) is not None
    ]
