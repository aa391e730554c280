"""Finds a text of several fields in JSON, with the rules of ``json_fields``. Pure."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.decode.json_fields import MISSING, Found, JsonFields
from streamlabel.consumer.decode.text_paths import TextPaths, elements, member
from streamlabel.errors import DecodeError

__all__ = ["JoinedFields", "Texts", "under"]


class Texts(Protocol):
    """Reads the text of a document."""

    def read(self, document: Any) -> str | None:  # noqa: ANN401 any document
        """Return the text; None if it is null or missing; raise DecodeError for any other value."""
        ...


class JoinedFields(JsonFields):
    """Finds a text of several fields, id and metadata.

    Args:
        settings: of the input, with ``text_paths``.
        prefix: dotted path of the object that holds the fields; empty: the document.
    """

    def __init__(self, settings: InputSettings, prefix: str = "") -> None:
        paths = [under(prefix, path) for path in settings.text_paths]
        super().__init__(
            paths[0], under(prefix, settings.id_path), under(prefix, settings.metadata_path)
        )
        self._texts: Texts = TextPaths(
            paths, separator=settings.text_separator, default=settings.text_default
        )
        self._all = [tuple(path.split(".")) for path in paths]
        self._usual = [f'"{key}"'.encode() for key in {key for path in self._all for key in path}]

    def read(self, document: object, source: bytes) -> Found:
        """Return the fields of ``document``, which was parsed from ``source``.

        Raises:
            DecodeError: ``schema``: no field, one that is not a string, or a repeated key on the
                way to one.
        """
        text = self._texts.read(document)
        if b"\\" in source or any(source.count(key) > 1 for key in self._usual):
            _refuse_repeated(source, self._all)
        metadata, is_dropped = None, False
        if self._metadata is not None:
            found: Any = document
            for key in self._metadata.parts:
                found = member(found, key)
            if found is not None and found is not MISSING:
                metadata, is_dropped = self._as_written(found, self._metadata, source)
        return Found(text, self._read_id(document, source), metadata, is_dropped)


class _Object(dict[str, Any]):
    """A JSON object that knows which of its keys were repeated."""

    repeated: frozenset[str] = frozenset()


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    found = _Object(pairs)
    if len(found) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        found.repeated = frozenset(key for key, count in counts.items() if count > 1)
    return found


def _refuse_repeated(source: bytes, paths: Sequence[Sequence[str]]) -> None:
    try:
        # numbers stay text: converting thousands of digits would take quadratic time
        document = json.loads(
            source.decode("utf-8-sig"), object_pairs_hook=_object, parse_int=str, parse_float=str
        )
    except RecursionError:
        document = None
    # Raised outside the handler, because the caught error would add nothing.
    if document is None:
        raise DecodeError("not_json", "nested too deeply to look for repeated keys")
    for path in paths:
        level = [document]
        for key in path:
            objects = [each for each in elements(level) if isinstance(each, _Object)]
            if any(key in each.repeated for each in objects):
                raise DecodeError("schema", f"a key on the path {'.'.join(path)!r} is repeated")
            level = [each[key] for each in objects if key in each]


def under(prefix: str, path: str | None) -> Any:  # noqa: ANN401 a path, or None as given
    """Return a path below another one; None stays None."""
    return f"{prefix}.{path}" if prefix and path else path
