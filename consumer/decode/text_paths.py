"""Finds the fields that make a text together, in a document of objects and arrays. Pure."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from streamlabel.consumer.decode.json_fields import MISSING
from streamlabel.errors import DecodeError

__all__ = ["Step", "TextPaths", "elements", "member"]

# document, key -> what it has under the key; MISSING: nothing
Step = Callable[[Any, str], Any]

_KINDS: Final = {
    dict: "an object",
    list: "an array",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    bytes: "bytes",
}


def member(document: Any, key: str) -> Any:  # noqa: ANN401 any value of a document
    """Return what an object has under a key; MISSING if it has none or is no object."""
    return document.get(key, MISSING) if type(document) is dict else MISSING


class TextPaths:
    """Reads the text of a document.

    Args:
        paths: dotted paths; a part names a key.
        separator: between the fields.
        default: the text if all fields are missing or null; None: that is an error.
        through_arrays: whether a path goes on in every element of an array.
        step: how to go from an object to what it has under a key.
    """

    def __init__(
        self,
        paths: Sequence[str],
        *,
        separator: str = "",
        default: str | None = None,
        through_arrays: bool = True,
        step: Step = member,
    ) -> None:
        self._paths = [(path, tuple(path.split("."))) for path in paths]
        self._only = self._paths[0][1] if len(paths) == 1 else None
        self._separator = separator
        self._default = default
        self._through_arrays = through_arrays
        self._step = step

    def read(self, document: Any) -> str | None:  # noqa: ANN401 any document
        """Return the text; None if its fields are null.

        Raises:
            DecodeError: ``schema``: no field, or one that is not a string.
        """
        if self._only is not None:  # nearly every record, and faster
            value = document
            for part in self._only:
                value = self._step(value, part)
            if type(value) is str:
                return value
        return self._joined(document)

    def _joined(self, document: Any) -> str | None:  # noqa: ANN401
        texts: list[str] = []
        is_there = False
        for path, parts in self._paths:
            for value in self._values(document, parts):
                is_there = True
                if type(value) is str:
                    texts.append(value)
                elif value is not None:
                    kind = _KINDS.get(type(value), "an object")
                    raise DecodeError("schema", f"field {path!r} is {kind}, not a string")
        if texts:
            return self._separator.join(texts)
        if self._default is not None:
            return self._default
        if is_there:
            return None
        named = ", ".join(repr(path) for path, _ in self._paths)
        raise DecodeError("schema", f"no field {named}")

    def _values(self, document: Any, parts: Sequence[str]) -> list[Any]:  # noqa: ANN401
        level = [document]
        for part in parts:
            if self._through_arrays:
                level = elements(level)
            level = [self._step(each, part) for each in level]
            level = [each for each in level if each is not MISSING]
        return elements(level) if self._through_arrays else level


def elements(values: Iterable[Any]) -> list[Any]:
    """Return the values, with the elements of an array instead of it, at any depth, in order."""
    found: list[Any] = []
    rest = list(values)[::-1]
    while rest:
        value = rest.pop()
        if isinstance(value, list):
            rest += value[::-1]
        else:
            found.append(value)
    return found
