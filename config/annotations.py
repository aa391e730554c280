"""The type of a setting: the values that it accepts, and their description for operators."""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from streamlabel.config.section import Section

__all__ = ["parts_of", "type_text"]


def parts_of(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 any type annotation
    """Yield the types that a value may have: the annotation without Annotated, unions and None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from parts_of(get_args(annotation)[0])
    elif origin in {Union, types.UnionType}:
        for part in get_args(annotation):
            yield from parts_of(part)
    elif annotation is not types.NoneType:
        yield annotation


_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def type_text(annotation: Any) -> str:  # noqa: ANN401 any type annotation
    """Return the type in words, with its limits."""
    texts = []
    for part in parts_of(annotation):
        origin, args = get_origin(part), get_args(part)
        if origin is Literal:
            texts.append(", ".join(str(arg) for arg in args))
        elif origin is list:
            texts.append(f"list of {type_text(args[0])}")
        elif origin is dict:
            texts.append(f"mapping of {type_text(args[0])} to {type_text(args[1])}")
        elif part is SecretStr:
            texts.append("secret text")
        elif isinstance(part, type) and issubclass(part, Section):
            inside = ", ".join(part.model_fields)
            texts.append(f"mappings with {inside}" if inside else "mapping")
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
