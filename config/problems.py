"""Error messages for an invalid configuration; each names the field and the fix."""

import difflib
import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import SecretStr
from pydantic_core import ErrorDetails

from streamlabel.config import installed
from streamlabel.config.catalog import (
    Path,
    annotations_at,
    entries_in_use,
    parts_of,
    sections_in,
)
from streamlabel.config.masking import mask_credentials, masked
from streamlabel.config.model import BACKENDS

__all__ = ["is_secret", "nearest_setting", "sentence"]


def is_secret(path: Path) -> bool:
    """Return True if the value of ``path`` must never be shown."""
    return any(SecretStr in parts_of(annotation) for annotation in annotations_at(path))


def nearest_setting(path: Path, *, backend: str | None = None) -> str:
    """Return advice about an unknown setting: the closest name, or the valid names.

    Compares with the names of the same section first, then with those of all sections.
    """
    *parent, name = path
    valid = _names_in(tuple(parent), backend)
    close = difflib.get_close_matches(_plain(name), valid, n=1)
    if close:
        return f"did you mean {_dotted((*parent, close[0]))}?"
    by_name = {entry.path[-1]: entry.name for entry in entries_in_use()}
    close = difflib.get_close_matches(_plain(name), by_name, n=1, cutoff=0.8)
    if close:
        return f"did you mean {by_name[close[0]]}?"
    if not valid:
        return f"{'.'.join(parent)} is a single value and has no sub-settings"
    return f"{'.'.join(parent) or 'the configuration'} has {', '.join(valid)}"


def sentence(error: ErrorDetails, *, origin: Callable[[Path], str]) -> str:
    """Return one readable sentence for one of pydantic's errors.

    Args:
        error: as pydantic reports it.
        origin: path -> where its value comes from, for example ``streamlabel.yaml:12``; may be "".
    """
    path, backend = _path(error["loc"])
    kind = error["type"]
    context = error.get("ctx", {})
    if kind == "union_tag_invalid":
        path = (*path, "backend")
        text = _unknown_backend(str(context["tag"]))
    elif kind == "union_tag_not_found":
        path = (*path, "backend")
        text = f"missing; one of {', '.join(_backends())}"
    elif kind == "extra_forbidden":
        text = _unknown_setting(path, backend)
    elif kind == "no_model":
        path = ("model",)
        text = _missing(path, None)
    elif kind == "missing":
        text = _missing(path, backend)
    elif kind == "value_error":
        return _from_validator(path, str(context["error"]), origin)
    else:
        text = _WRONG.get(kind, _in_lower_case)(context, error["msg"])
        text += _shown(path, error["input"])
    is_missing = kind in {"missing", "union_tag_not_found"}
    return _with_origin(f"{_dotted(path)}: {text}", origin(path[:-1] if is_missing else path))


def _from_validator(path: Path, message: str, origin: Callable[[Path], str]) -> str:
    """Our own validators start their message with the field's name; make it a full path."""
    names, colon, rest = message.partition(": ")
    if not colon or not any(sections_in(annotation) for annotation in annotations_at(path)):
        return _with_origin(f"{_dotted(path)}: {message}", origin(path))
    fields = [(*path, *name.split(".")) for name in names.split(", ")]
    given = [where for where in map(origin, fields) if where]
    where = given[0] if given else origin(path)
    return _with_origin(f"{', '.join(map(_dotted, fields))}: {rest}", where)


def _with_origin(text: str, where: str) -> str:
    text = mask_credentials(text)  # our own validators may quote a value
    return f"{text} ({where})" if where else text


# Back end and path -> why a setting of earlier versions was removed.
_REMOVED: Mapping[tuple[str | None, Path], str] = {
    ("prompted", ("model", "engine")): "was removed: transformers is the only engine; delete it",
}


def _unknown_setting(path: Path, backend: str | None) -> str:
    if removed := _REMOVED.get((backend, path)):
        return removed
    others = sorted(
        {str(e.backend) for e in entries_in_use() if e.backend and e.path[: len(path)] == path}
    )
    if backend and others:
        return f"the back end {backend} has no such setting, only {', '.join(others)}; delete it"
    return f"unknown setting; {nearest_setting(path, backend=backend)}"


def _missing(path: Path, backend: str | None) -> str:
    if path == ("model",):
        choices = ", ".join(_backends())
        return (
            "missing; choose a model, for example"
            f" model: {{backend: encoder, path: FOLDER}} (back ends: {choices})"
        )
    descriptions = [
        entry.description
        for entry in entries_in_use()
        if entry.path == path and (backend is None or entry.backend in {None, backend})
    ]
    return f"missing; set it: {descriptions[0].rstrip('.')}" if descriptions else "missing; set it"


def _unknown_backend(given: str) -> str:
    choices = _backends()
    close = difflib.get_close_matches(given.lower(), choices, n=1)
    shown = json.dumps(given[:40], ensure_ascii=False)
    if close:
        return f"{shown} is not a back end; did you mean {close[0]}?"
    others = installed.names("back end")
    more = f"; installed: {', '.join(others)}" if others else ""
    return (
        f"{shown} is not a back end; available: {', '.join(BACKENDS)}{more};"
        f" {installed.how_to_register('back end')}"
    )


def _shown(path: Path, value: Any) -> str:  # noqa: ANN401 whatever was given
    """Return ", is VALUE"; of a mapping or list only the kind, "" for a secret or long value."""
    if isinstance(value, dict | list):
        return f", is a {'mapping' if isinstance(value, dict) else 'list'}"
    in_section = any(sections_in(annotation) for annotation in annotations_at(path))
    if in_section or is_secret(path) or not isinstance(value, str | int | float | None):
        return ""
    text = "nothing" if value is None else json.dumps(masked(value), ensure_ascii=False)
    return f", is {text}" if len(text) <= 80 else ""


Rendering = Callable[[Mapping[str, Any], str], str]


def _in_lower_case(_: Mapping[str, Any], message: str) -> str:
    return message[:1].lower() + message[1:]


_TEXT = "must be text (numbers, yes and no need quotes)"
_WHOLE = "must be a whole number"
_NUMBER = "must be a number"
_BOOLEAN = "must be true or false"

_WRONG: dict[str, Rendering] = {
    "literal_error": lambda ctx, _: f"must be one of {str(ctx['expected']).replace(chr(39), '')}",
    "string_type": lambda *_: _TEXT,
    "int_type": lambda *_: _WHOLE,
    "int_parsing": lambda *_: _WHOLE,
    "int_from_float": lambda *_: _WHOLE,
    "float_type": lambda *_: _NUMBER,
    "float_parsing": lambda *_: _NUMBER,
    "finite_number": lambda *_: "must be a finite number",
    "bool_type": lambda *_: _BOOLEAN,
    "bool_parsing": lambda *_: _BOOLEAN,
    "path_type": lambda *_: "must be the path of a file",
    "list_type": lambda *_: 'must be a list, for example ["a", "b"]',
    "dict_type": lambda *_: "must be a mapping of names to values",
    "model_type": lambda *_: "must be a section with settings below it",
    "model_attributes_type": lambda *_: "must be a section with settings below it",
    "greater_than": lambda ctx, _: f"must be greater than {ctx['gt']:g}",
    "greater_than_equal": lambda ctx, _: f"must be at least {ctx['ge']}",
    "less_than": lambda ctx, _: f"must be less than {ctx['lt']:g}",
    "less_than_equal": lambda ctx, _: f"must be at most {ctx['le']}",
    "string_too_short": lambda ctx, _: "must not be empty",
    "too_short": lambda ctx, _: f"needs at least {ctx['min_length']} values",
    "string_pattern_mismatch": lambda ctx, _: f"must look like {ctx['pattern']}",
}


def _path(loc: tuple[int | str, ...]) -> tuple[Path, str | None]:
    """Split pydantic's location into the path and the name of the back end in it, if any."""
    path: Path = ()
    backend = None
    for part in loc:
        at = annotations_at(path)
        if any(len(sections_in(annotation)) > 1 for annotation in at) and not backend:
            backend = str(part)
        elif part != "[key]":
            path = (*path, str(part))
    return path, backend


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if part.isdecimal() and text else f".{part}" if text else part
    return text or "the file"


def _names_in(path: Path, backend: str | None) -> list[str]:
    names: dict[str, None] = {}
    for annotation in annotations_at(path):
        for section in sections_in(annotation):
            tag = section.model_fields.get("backend")
            if backend is None or tag is None or tag.default == backend:
                names |= dict.fromkeys(section.model_fields)
    return list(names)


def _backends() -> list[str]:
    return [*BACKENDS, *installed.names("back end")]


def _plain(name: str) -> str:
    """Return a name as ours are spelled: users know Kafka's bootstrap.servers."""
    return name.lower().replace(".", "_").replace("-", "_")
