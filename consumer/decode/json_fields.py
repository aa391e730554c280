"""Reads untrusted JSON: bounded in depth, time and numbers, and with one unambiguous text.

orjson does the parsing: it refuses more than 1024 levels, numbers beyond a double, NaN, lone
surrogates and control characters in strings, without recursion. It does not detect
repeated keys, of which some parsers take the last one and others the first one: reviewers and the
model could see different texts. So a repeated key on the path of the text is refused.
"""

import re
from typing import Any, Final, NamedTuple

import orjson

from streamlabel.consumer.decode.json_slices import JsonPath, compacted
from streamlabel.errors import DecodeError

__all__ = ["METADATA_LIMIT_BYTES", "MISSING", "Found", "JsonFields", "parse_json"]

# Metadata is copied to every output, so it has to be small compared with the 1 MB that a topic
# accepts by default.
METADATA_LIMIT_BYTES = 16 * 1024

MISSING: Final = object()

# As ``Found(...)``, without a call in Python for every record.
_new_tuple: Final = tuple.__new__
_NUMBERS: Final = frozenset({int, float})
_INTEGER: Final = re.compile(rb"-?\d+")

_BOM = b"\xef\xbb\xbf"
_KINDS = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


class Found(NamedTuple):
    """The fields found in a JSON value.

    Attributes:
        text: not checked for being blank; None if the field is null.
        id: as given; MISSING if there is none. Integers of any size are int.
        metadata: its JSON as it was written, on one line; None if there is none, or if it is
            larger than METADATA_LIMIT_BYTES.
        metadata_dropped: it was larger.
    """

    text: str | None
    id: Any
    metadata: bytes | None
    metadata_dropped: bool


class JsonFields:
    """Finds text, id and metadata at their dotted paths. A part of a path names an object's key."""

    def __init__(self, text_path: str, id_path: str | None, metadata_path: str | None) -> None:
        self._text_path = text_path
        self._text = JsonPath(text_path.split("."))
        self._id = JsonPath(id_path.split(".")) if id_path else None
        self._metadata = JsonPath(metadata_path.split(".")) if metadata_path else None
        paths = [path for path in (self._text, self._id, self._metadata) if path is not None]
        self._is_flat = all(path.key is not None for path in paths)
        self._keys = text_path, id_path, metadata_path  # if flat; no object has a key None

    def read(self, document: object, source: bytes) -> Found:
        """Return the fields of ``document``, which was parsed from ``source``.

        Raises:
            DecodeError: ``schema``: no text, not a string, or a repeated key on its path.
        """
        if self._is_flat and type(document) is dict:  # the usual case, without a call for each
            text_key, id_key, metadata_key = self._keys
            text, identity = document.get(text_key, MISSING), document.get(id_key, MISSING)
            found = document.get(metadata_key, MISSING)
        else:
            text, identity, found = self._look_up(document)
        if type(text) is not str and text is not None:
            raise self._refusal(document, text)
        if source.count(self._text.usual) != 1 or b"\\" in source:  # else no key is repeated
            self._refuse_repeated(source)
        metadata, is_dropped = None, False
        if found is not None and found is not MISSING and self._metadata is not None:
            metadata, is_dropped = self._as_written(found, self._metadata, source)
        if type(identity) is float:  # or an integer beyond 64 bits, which the parser rounded
            identity = self._exact(identity, source)
        return _new_tuple(Found, (text, identity, metadata, is_dropped))

    def _look_up(self, document: object) -> tuple[object, object, object]:
        """Return text, id and metadata; each MISSING if there is none."""
        return (
            _find(document, self._text),
            MISSING if self._id is None else _find(document, self._id),
            MISSING if self._metadata is None else _find(document, self._metadata),
        )

    def _refuse_repeated(self, source: bytes) -> None:
        # Each key on the path occurs at least once; only if one occurs again it may be repeated.
        if not self._text.is_plain(source) and any(
            len(keys) != 1 for keys in self._text.numbers(source)
        ):
            message = f"a key on the path {self._text_path!r} is repeated"
            raise DecodeError("schema", message)

    def _read_id(self, document: object, source: bytes) -> object:
        _, identity, _ = self._look_up(document)
        return self._exact(identity, source) if type(identity) is float else identity

    def _exact(self, identity: float, source: bytes) -> float:
        raw = b"" if self._id is None else self._id.raw(source)
        # of 309 digits at most: the parser accepts no more
        return int(raw) if _INTEGER.fullmatch(raw) else identity

    @staticmethod
    def _as_written(metadata: object, path: JsonPath, source: bytes) -> tuple[bytes | None, bool]:
        written = _written(metadata)
        if written is None:
            return None, True
        guess = b"" if type(metadata) in _NUMBERS else written
        raw = path.raw(source, guess=guess)
        if raw is guess:
            return raw, False
        short = compacted(raw, limit_bytes=METADATA_LIMIT_BYTES)
        return short, short is None

    def _refusal(self, document: object, text: object) -> DecodeError:
        if type(document) is not dict:
            return DecodeError("schema", f"the value is {_KINDS[type(document)]}, not an object")
        if text is MISSING:
            return DecodeError("schema", f"no field {self._text_path!r}")
        kind = _KINDS[type(text)]
        return DecodeError("schema", f"field {self._text_path!r} is {kind}, not a string")


def parse_json(value: bytes) -> object:
    """Return the JSON document that ``value`` is; a byte order mark before it is ignored.

    Raises:
        DecodeError: ``empty_text``: nothing but white space; ``bad_encoding``: not UTF-8, or a
            lone surrogate in an escape, which no UTF-8 output could carry; ``not_json``: the rest.
    """
    value = value.removeprefix(_BOM)
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        message, line, column = error.msg, error.lineno, error.colno
    # Raised outside the handler, because the caught error contains the whole value.
    if not value.strip():
        raise DecodeError("empty_text", "the value is empty")
    reason = "bad_encoding" if "surrogate" in message else "not_json"
    raise DecodeError(reason, f"not valid JSON: {message}, line {line} column {column}")


def _find(document: object, path: JsonPath) -> object:
    for part in path.parts:
        if type(document) is not dict:
            return MISSING
        document = document.get(part, MISSING)
    return document


def _written(metadata: object) -> bytes | None:
    """Return ``metadata`` as JSON; None if it cannot be nested one level deeper in an output."""
    try:
        # orjson writes 254 levels; the outer list stands for the message around it.
        written = orjson.dumps([[metadata]])
    except orjson.JSONEncodeError:
        return None
    return written[2:-2] if len(written) <= METADATA_LIMIT_BYTES else None
