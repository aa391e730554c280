"""Extracts a value from JSON as it was written: parsing and serializing would change numbers.

A parser turns 12345678901234567890123 and 1.10 into doubles, and writes 1.2345678901234568e22 and
1.1. Values that must not change are therefore copied as bytes. The document has been parsed
before, so the code here may rely on valid JSON.
"""

import re
from collections.abc import Sequence
from hashlib import blake2b
from itertools import count
from typing import Final

import orjson

__all__ = ["JsonPath", "compacted"]

# Possessive (*+, ++): no backtracking, so every pattern takes linear time.
_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_PLAIN: Final = rb'[^"\[\]{}]*+'
_FLAT: Final = rb"[\[{]" + _PLAIN + rb"(?:" + _STRING + _PLAIN + rb")*+[\]}]"
_NESTED: Final = (
    rb"[\[{]" + _PLAIN + rb"(?:(?:" + _STRING + rb"|" + _FLAT + rb")" + _PLAIN + rb")*+[\]}]"
)
_VALUE: Final = re.compile(
    rb"[ \t\r\n]*+(" + _NESTED + rb"|" + _STRING + rb'|[^ \t\r\n,"\[\]{}]++)', re.DOTALL
)
_STRUCTURE: Final = re.compile(_STRING + rb"|[\[{]|[\]}]", re.DOTALL)
_SPACE: Final = re.compile(rb"(" + _STRING + rb'|[^ \t\r\n"]++)|[ \t\r\n]++', re.DOTALL)
_STRINGS: Final = re.compile(_STRING, re.DOTALL)
_USUAL: Final = re.compile(r"\w+", re.ASCII)
_OPENING: Final = frozenset(b"[{")

# The most bytes that an escape takes per byte of its character: \u0041 is six for one.
_LONGEST_ESCAPE: Final = 6


class JsonPath:
    """A path through objects; each part names a key.

    Attributes:
        key: of a path of one key; None for other paths.
        usual: the key with its quotes, of a path of one plain key; empty for other paths.
    """

    def __init__(self, parts: Sequence[str]) -> None:
        self.parts = tuple(parts)
        self.key = self.parts[0] if len(self.parts) == 1 else None
        names = "|".join("".join(map(_spellings, part)) for part in sorted(set(self.parts)))
        # Matches each of the path's keys, with or without escapes, and the same names elsewhere.
        self._keys = re.compile(rf'"({names})"[ \t\r\n]*:'.encode())
        # The usual key, which is hardly ever written with escapes, is found without the pattern.
        self.usual = f'"{parts[0]}"'.encode() if _USUAL.fullmatch(".".join(parts)) else b""

    def is_plain(self, source: bytes) -> bool:
        """Return whether each key of the path occurs exactly once in ``source``.

        ``source`` has a value at the path.
        """
        if self._is_usual(source):
            return True
        return len(self._keys.findall(source)) == len(self.parts)

    def raw(self, source: bytes, *, guess: bytes = b"") -> bytes:
        """Return the value as it is written in ``source``, which has one at the path.

        Of repeated keys the last one counts, as in most parsers.

        Args:
            source: a JSON document.
            guess: how an object, array or string is probably written; if the guess is right, the
                value's end need not be searched for.
        """
        start = self._start(source)
        if guess and source.startswith(guess, start + source.startswith(b" ", start)):
            return guess
        return _value(source, start)

    def _start(self, source: bytes) -> int:
        """Return where the value, or white space before it, begins."""
        if self._is_usual(source):
            start = source.index(self.usual) + len(self.usual)
            return source.index(b":", start) + 1
        matches = list(self._keys.finditer(source))
        if len(matches) == len(self.parts):
            return max(match.end() for match in matches)
        return matches[self.numbers(source)[-1][-1]].end()

    def _is_usual(self, source: bytes) -> bool:
        return (
            source.count(self.usual) == 1
            and self.usual != b""
            # Looking for one byte first takes a sixth of the time.
            and (b"\\" not in source or b"\\u" not in source)
        )

    def numbers(self, source: bytes) -> list[list[int]]:
        """Return for each part of the path the numbers of its keys among the keys in ``source``.

        Several numbers: the key is repeated in its object; the path continues in the last one.
        """
        # Each matching key is renamed to a unique name, so that the parser keeps all of them: a
        # mark and its number. No key can begin with the mark, which is a hash of the whole
        # document.
        mark = blake2b(source, digest_size=8).hexdigest()
        number, named = count(), f'"{mark} %d %s":'.encode()
        numbered = self._keys.sub(lambda key: named % (next(number), key[1]), source)
        level = orjson.loads(numbered.removeprefix(b"\xef\xbb\xbf"))
        found: list[list[int]] = []
        for part in self.parts:
            if type(level) is not dict:
                raise AssertionError("the path was found before. This is a bug.")
            keys = [key for key in level if _is_numbered(key, mark, part)]
            found.append([int(key.split(" ", 2)[1]) for key in keys])
            level = level[keys[-1]]
        return found


def compacted(raw: bytes, *, limit_bytes: int) -> bytes | None:
    """Return JSON that means the same in at most ``limit_bytes`` and on one line, or None.

    White space goes, and then, if it is still too long, escapes that are not needed. Numbers and
    the order of keys, repeated ones too, stay as they are.
    """
    if len(raw) > limit_bytes or b"\n" in raw or b"\r" in raw:
        raw = _SPACE.sub(rb"\1", raw)
    if limit_bytes < len(raw) <= _LONGEST_ESCAPE * limit_bytes:
        raw = _STRINGS.sub(lambda string: orjson.dumps(orjson.loads(string[0])), raw)
    return raw if len(raw) <= limit_bytes else None


def _value(source: bytes, start: int) -> bytes:
    if found := _VALUE.match(source, start):
        return found[1]
    depth = 0
    for token in _STRUCTURE.finditer(source, start):  # nested more deeply than the pattern
        char = source[token.start()]
        if char in _OPENING:
            if depth == 0:
                start = token.start()
            depth += 1
        elif char != ord('"'):
            depth -= 1
            if depth == 0:
                return source[start : token.end()]
    raise AssertionError("the document was parsed before. This is a bug.")


def _is_numbered(key: str, mark: str, name: str) -> bool:
    return key.startswith(mark) and key.split(" ", 2)[2] == name


def _spellings(char: str) -> str:
    r"""Return a pattern for every way to write ``char`` in JSON: ``t`` is also ``\u0074``."""
    units = char.encode("utf-16-be").hex()
    escape = "".join(
        r"\\u" + "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in units[i : i + 4])
        for i in range(0, len(units), 4)
    )
    plain = re.escape(orjson.dumps(char)[1:-1].decode())
    return f"(?:{plain}|{escape})" if char != "/" else rf"(?:/|\\/|{escape})"
