"""The public interface as text: names, signatures, fields and members.

``python -m tests.api_surface`` writes it to tests/api_surface.txt, after an intended change.
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from streamlabel import api

__all__ = ["FILE", "public_members", "surface"]

_MODULE = re.compile(r"\b(?:[a-z_]\w*\.)+(?=\w)")

FILE = Path(__file__).with_suffix(".txt")


def surface() -> str:
    """Return one line for every part of the public interface."""
    lines = (line for name in api.__all__ for line in _lines(name))
    # the module of a type is not part of the interface
    return "\n".join(_MODULE.sub("", line) for line in lines) + "\n"


def _lines(name: str) -> Iterator[str]:
    found = getattr(api, name)
    if inspect.isfunction(found):
        kind = "async def" if inspect.iscoroutinefunction(found) else "def"
        yield f"{kind} {name}{inspect.signature(found)}"
    elif not inspect.isclass(found):
        yield f"{name} = {found}"
    else:
        bases = [base.__name__ for base in found.__bases__ if base not in {object, tuple}]
        yield f"class {name}({', '.join(bases)})" if bases else f"class {name}"
        yield from (f"    {line}" for line in _inside(found))


def _inside(found: type) -> Iterator[str]:
    if is_dataclass(found):
        for field in fields(found):
            yield f"{field.name}: {_named(field.type)}"
    if issubclass(found, BaseModel):
        yield from (f"{name}: section" for name in found.model_fields)
        return
    if issubclass(found, tuple):
        yield from found.__annotations__
    for name, member in public_members(found):
        if isinstance(member, property):
            yield f"{name}: {_named(inspect.signature(member.fget).return_annotation)}"  # type: ignore[arg-type]
        else:
            yield f"{name}{inspect.signature(member)}"


def public_members(found: type) -> Iterator[tuple[str, Any]]:
    """Yield the methods and properties of one of our classes, including its constructor."""
    for name, member in vars(found).items():
        is_ours = inspect.isfunction(member) or isinstance(member, property)
        shown = not name.startswith("_") or name in {"__aenter__", "__aexit__"}
        has_own_init = name == "__init__" and not is_dataclass(found)
        if is_ours and (shown or (has_own_init and not getattr(found, "_is_protocol", False))):
            yield name, member


def _named(kind: Any) -> str:  # noqa: ANN401 any type
    return kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)


if __name__ == "__main__":
    FILE.write_text(surface(), encoding="utf-8")
