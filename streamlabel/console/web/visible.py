"""Makes texts of strangers safe to show: hidden and stacked characters become visible marks.

Templates escape markup; this module handles what escaping leaves: control characters, overrides of
the writing direction, characters without width, and piles of combining marks that would cover the
lines around them. Nothing is executed or reordered by a text, and a reviewer sees what is in it.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["SHOWN_CHARACTERS", "Piece", "pieces", "plain"]

# Of one text on the page; the rest is one link away. A browser lays out a megabyte in seconds.
SHOWN_CHARACTERS: Final = 20_000
# Marks on one letter: Tibetan, Vietnamese and pointed Hebrew need up to five.
_MAX_MARKS: Final = 5
# Flags of regions are a black flag and tag characters, which are hidden text anywhere else.
_FLAG: Final = "\U0001f3f4[\U000e0020-\U000e007e]{1,8}\U000e007f"
# Direction marks, joiners and variation selectors are left: scripts and emoji need them, and they
# change nothing outside the isolated text.
_HIDDEN: Final = re.compile(
    f"(?P<flag>{_FLAG})|(?P<hidden>(?P<one>["
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u180e\u200b\u2028\u2029\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f])(?P=one)*)"
)
_CONTROLS: Final[dict[int, str]] = {0x7F: "DEL", 0x1B: "ESC", 0x00: "NUL", 0x07: "BEL", 0x08: "BS"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text.

    Attributes:
        text: to show; of a mark its name, for example RIGHT-TO-LEFT OVERRIDE.
        is_mark: whether it stands for characters that would not be seen.
        count: number of characters that a mark stands for.
    """

    text: str
    is_mark: bool = False
    count: int = 1


def pieces(text: str, *, limit: int = SHOWN_CHARACTERS) -> list[Piece]:
    """Return the first ``limit`` characters of a text as pieces, in order."""
    text = text[:limit].replace("\r\n", "\n")
    found: list[Piece] = []
    start = 0
    for match in _HIDDEN.finditer(text):
        if match["flag"]:
            continue
        found.extend(_without_piles(text[start : match.start()]))
        found.append(Piece(_name(match["one"]), is_mark=True, count=len(match["hidden"])))
        start = match.end()
    found.extend(_without_piles(text[start:]))
    return found


def plain(text: str, *, limit: int) -> str:
    """Return the start of a text on one line, for lists: without marks, with … where it is cut."""
    shown = "".join(" " if piece.is_mark else piece.text for piece in pieces(text, limit=limit + 1))
    shown = " ".join(shown.split())
    return shown if len(text) <= limit else shown[:limit].rstrip() + "…"


def _without_piles(text: str) -> Iterator[Piece]:
    if text.isascii():
        if text:
            yield Piece(text)
        return
    kept: list[str] = []
    dropped = run = 0
    for character in text:
        run = run + 1 if unicodedata.category(character) in {"Mn", "Me"} else 0
        if run > _MAX_MARKS:
            dropped += 1
            continue
        if dropped:
            yield Piece("".join(kept))
            yield Piece("COMBINING MARKS", is_mark=True, count=dropped)
            kept, dropped = [], 0
        kept.append(character)
    if kept:
        yield Piece("".join(kept))
    if dropped:
        yield Piece("COMBINING MARKS", is_mark=True, count=dropped)


def _name(character: str) -> str:
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:
        return "HALF OF A CHARACTER"
    found = _CONTROLS.get(code)
    return unicodedata.name(character, f"U+{code:04X}") if found is None else found
