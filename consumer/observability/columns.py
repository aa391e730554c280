"""Rows of text with columns that are aligned on a terminal, in any script. Pure.

A terminal counts in cells: a Chinese character or an emoji takes two, a combining mark none.
Characters that terminals draw differently (variation selectors, skin tones, flags) are left out or
escaped.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len

__all__ = ["Column", "Columns", "cells_of", "drawn", "fitted"]

_GAP: Final = "  "
_INDENT: Final = "    "
# Minimum width of the last column; with less room it gets a line of its own.
_MIN_LAST_CELLS: Final = 24

# Each of these is drawn in 0, 1 or 2 cells, depending on the terminal. They change how the
# character before them looks, and not which one it is.
_MODIFIERS: Final = (*range(0xFE00, 0xFE10), *range(0x1F3FB, 0x1F400), 0x20E3)
_FLAGS: Final = {0x1F1E6 + i: chr(ord("A") + i) for i in range(26)}
_DRAWN: Final = dict.fromkeys(_MODIFIERS, "") | _FLAGS


def drawn(text: str) -> str:
    """Return printable ``text`` with only those characters that all terminals draw alike."""
    return text.translate(_DRAWN)


def cells_of(text: str) -> int:
    """Return how many cells drawn text takes, character by character as terminals count."""
    return sum(map(_cells, text))


def _cells(character: str) -> int:
    # vowel signs of Indian scripts take one cell on terminals, but none in rich's table
    return 1 if unicodedata.category(character) == "Mc" else cell_len(character)


def fitted(text: str, cells: int) -> str:
    """Return printable ``text`` in at most ``cells`` cells; a cut text ends in ``…``."""
    shown = drawn(text)
    if cells_of(shown) <= cells:
        return shown
    left, end = cells - 1, 0
    while (left := left - _cells(shown[end])) >= 0:
        end += 1
    return shown[:end] + "…"


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        title: for the header row.
        cells: how wide it is; wider if the title is.
        is_number: on the right of its column.
        is_whole: never cut, because users copy it: a position.
    """

    title: str
    cells: int = 0
    is_number: bool = False
    is_whole: bool = False

    @property
    def width(self) -> int:
        """Its width in cells."""
        return max(self.cells, cells_of(self.title))


class Columns:
    """Lays rows out.

    Args:
        columns: the last one takes the rest of a line.
        width: of the terminal in cells. Columns that do not fit go on further lines, indented, and
            a value too wide for its column is cut. None: no terminal; a row is one line, uncut.
    """

    def __init__(self, columns: Sequence[Column], *, width: int | None) -> None:
        self._columns = columns
        self._width = width
        self._lines = _lines(columns, width)

    def header(self) -> str:
        """Return the row of titles."""
        return self.row([column.title for column in self._columns])

    def row(self, values: Sequence[str]) -> str:
        """Return one row of printable values, one a column."""
        shown = []
        for number, places in enumerate(self._lines):
            room = None if self._width is None else self._width - (len(_INDENT) if number else 0)
            parts = []
            for place in places:
                cell = self._cell(place, values[place], room, is_last=place == places[-1])
                parts.append(cell)
                room = None if room is None else room - cells_of(cell) - len(_GAP)
            shown.append(_GAP.join(parts).rstrip())
        return ("\n" + _INDENT).join(shown)

    def _cell(self, place: int, value: str, room: int | None, *, is_last: bool) -> str:
        column = self._columns[place]
        text = drawn(value)
        if place == len(self._columns) - 1:
            return text if room is None else fitted(text, max(room, 1))
        if room is not None and not column.is_whole:
            text = fitted(text, max(1, min(column.width, room)))
        if is_last and not column.is_number:
            return text
        space = " " * max(0, column.width - cells_of(text))
        return space + text if column.is_number else text + space


def _lines(columns: Sequence[Column], width: int | None) -> list[list[int]]:
    """Return the columns of each line."""
    if width is None:
        return [list(range(len(columns)))]
    lines: list[list[int]] = [[]]
    left = width
    for place, column in enumerate(columns):
        wanted = max(column.width, _MIN_LAST_CELLS if place == len(columns) - 1 else 0)
        if lines[-1] and wanted > left:
            lines.append([])
            left = width - len(_INDENT)
        lines[-1].append(place)
        left -= column.width + len(_GAP)
    return lines
