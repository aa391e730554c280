"""The fields of the outputs, read from the pydantic models, for other schema languages. Pure."""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, JsonValue

__all__ = ["Field", "Kind", "fields_of"]

_PLAIN: Final = {str: "string", float: "double", int: "long", bool: "boolean"}


@dataclass(frozen=True, slots=True)
class Kind:
    """What a field holds.

    Attributes:
        name: ``string``, ``double``, ``long``, ``boolean``, ``json``, or the name of a record.
        form: one value, a list of them, or a mapping of names to them.
        model: of a record.
        is_optional: it may be null or missing.
    """

    name: str
    form: Literal["one", "list", "map"] = "one"
    model: type[BaseModel] | None = None
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an output.

    Attributes:
        name: as in JSON.
        kind: what it holds.
        default: None: it has none.
        about: what it means.
    """

    name: str
    kind: Kind
    default: Any
    about: str


def fields_of(model: type[BaseModel]) -> Iterator[Field]:
    """Yield the fields of an output or of a part of one, in their order."""
    for name, info in model.model_fields.items():
        default = None if info.is_required() else info.get_default(call_default_factory=True)
        kind = _kind(info.annotation)
        yield Field(info.alias or name, kind, default, info.description or "")


def _kind(annotation: Any) -> Kind:  # noqa: ANN401 any annotation
    if annotation is JsonValue:
        return Kind("json", is_optional=True)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Kind(annotation.__name__.removesuffix("Part"), model=annotation)
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is None or origin is Literal:
        return Kind("string" if origin is Literal else _PLAIN[annotation])
    if origin is Annotated:
        return _kind(inner[0])
    if origin in {Union, types.UnionType}:
        [one] = [each for each in inner if each is not types.NoneType]
        found = _kind(one)
        return Kind(found.name, found.form, found.model, is_optional=True)
    found = _kind(inner[-1])
    return Kind(found.name, "list" if origin is list else "map", found.model)
