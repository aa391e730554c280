"""JSON from strangers: bounded in depth, time and numbers, and one text that all readers agree on.

orjson does the parsing: it refuses more than 1024 levels, numbers beyond a double, NaN, lone
surrogates and control characters in strings, without recursion. What it does not see is a
repeated key, where the last one wins here and the first one elsewhere: a text could show people
one thing and the model another. So a repeated key on the way to the text is refused.
"""

import re
from itertools import count
from typing import Any, Final, NamedTuple

import orjson

from streamlabel.errors import DecodeError

__all__ = ["METADATA_LIMIT_BYTES", "MISSING", "Found", "JsonFields", "parse_json"]

# What travels through is copied into every output, so it has to stay small beside the 1 MB that a
# topic takes by default.
METADATA_LIMIT_BYTES = 16 * 1024

MISSING: Final = object()

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
    """What a JSON value holds for us.

    Attributes:
        text: not checked for being blank; None if the field is null.
        id: as it stands there; MISSING if it does not.
        metadata: None if there is none, or if it is larger than METADATA_LIMIT_BYTES.
        metadata_dropped: it was larger.
    """

    text: str | None
    id: Any
    metadata: Any
    metadata_dropped: bool


class JsonFields:
    """Finds text, id and metadata at their dotted paths. A part of a path names an object's key."""

    def __init__(self, text_path: str, id_path: str | None, metadata_path: str | None) -> None:
        self._text_path = text_path
        self._text = tuple(text_path.split("."))
        self._id = tuple(id_path.split(".")) if id_path else ()
        self._metadata = tuple(metadata_path.split(".")) if metadata_path else ()
        names = "|".join("".join(map(_spellings, part)) for part in sorted(set(self._text)))
        self._keys = re.compile(rf'"({names})"[ \t\r\n]*:'.encode())

    def read(self, document: object, source: bytes) -> Found:
        """Return what ``document`` holds; ``source`` is what it was parsed from.

        Raises:
            DecodeError: ``schema``: no text, no string, or a repeated key on the way.
        """
        text = _find(document, self._text)
        if type(text) is not str and text is not None:
            raise self._refusal(document, text)
        # A key on the path stands there once at least; what can repeat it has to stand there too.
        if len(self._keys.findall(source)) != len(self._text):
            self._refuse_repeated_keys(source)
        metadata = _find(document, self._metadata) if self._metadata else None
        if metadata is None or metadata is MISSING:
            metadata, fits = None, True
        else:
            fits = _fits(metadata)
        identity = _find(document, self._id) if self._id else MISSING
        return Found(text, identity, metadata if fits else None, not fits)

    def _refusal(self, document: object, text: object) -> DecodeError:
        if type(document) is not dict:
            return DecodeError("schema", f"the value is {_KINDS[type(document)]}, not an object")
        if text is MISSING:
            return DecodeError("schema", f"no field {self._text_path!r}")
        kind = _KINDS[type(text)]
        return DecodeError("schema", f"field {self._text_path!r} is {kind}, not a string")

    def _refuse_repeated_keys(self, source: bytes) -> None:
        """Look closely: elsewhere the same names are fine."""
        number = count()
        # Every one of them gets a name of its own, so that the parser keeps all.
        numbered = self._keys.sub(lambda key: b'"\\u0000%d %s":' % (next(number), key[1]), source)
        level = parse_json(numbered)
        for part in self._text:
            if type(level) is not dict:
                raise AssertionError("the path was walked before. This is a bug.")
            values = [value for key, value in level.items() if _is_numbered(key, part)]
            if len(values) != 1:
                message = f"a key on the way to {self._text_path!r} is repeated"
                raise DecodeError("schema", message)
            level = values[0]


def _is_numbered(key: str, name: str) -> bool:
    return key.startswith("\x00") and key.partition(" ")[2] == name


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
    # Raised out here, because the caught error carries the whole value.
    if not value.strip():
        raise DecodeError("empty_text", "the value is empty")
    reason = "bad_encoding" if "surrogate" in message else "not_json"
    raise DecodeError(reason, f"not valid JSON: {message}, line {line} column {column}")


def _find(document: object, path: tuple[str, ...]) -> object:
    for part in path:
        if type(document) is not dict:
            return MISSING
        document = document.get(part, MISSING)
    return document


def _fits(metadata: object) -> bool:
    """Say whether ``metadata`` can travel, nested one level deeper than here."""
    try:
        # orjson writes 254 levels; the outer list stands for the message around it.
        return len(orjson.dumps([[metadata]])) <= METADATA_LIMIT_BYTES
    except orjson.JSONEncodeError:
        return False


def _spellings(char: str) -> str:
    r"""Return a pattern for every way to write ``char`` in JSON: ``t`` is also ``\u0074``."""
    units = char.encode("utf-16-be").hex()
    escape = "".join(
        r"\\u" + "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in units[i : i + 4])
        for i in range(0, len(units), 4)
    )
    plain = re.escape(orjson.dumps(char)[1:-1].decode())
    return f"(?:{plain}|{escape})" if char != "/" else rf"(?:/|\\/|{escape})"
