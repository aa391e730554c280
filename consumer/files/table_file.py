"""Tables in text files, CSV or TSV, with a header row that names the columns.

The header row determines the separator and the columns. Messages quote nothing of a file but column
names, because without a header row the first row is a text.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, Protocol

from streamlabel.errors import ConfigError

__all__ = ["MAX_CELL_CHARACTERS", "SEPARATORS", "Table", "TableRow", "open_table"]

# Beyond any broker's record; a longer cell is a broken file, not a text.
MAX_CELL_CHARACTERS: Final = 16 * 1024 * 1024

# By file extension. Spreadsheets write semicolons where the comma is the decimal mark.
SEPARATORS: Final = {".csv": (",", ";", "\t"), ".tsv": ("\t",)}

# Names of columns that messages may quote. Anything else may be a text.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,29}")


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row.

    Attributes:
        line: its (last) line in the file, from 1.
        values: one a column; None with ``problem``.
        problem: why there are none.
    """

    line: int
    values: Sequence[str] | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table after its header row.

    Attributes:
        names: of the columns, without spaces around them.
        rows: read lazily, without blank ones.
    """

    names: tuple[str, ...]
    rows: Iterator[TableRow]

    def place(self, *wanted: str) -> int | None:
        """Return the index of the first of these names that exists; None if none does."""
        return _place(self.names, wanted)


def open_table(
    lines: Iterable[str], *, separators: Sequence[str], wanted: Sequence[str], name: str
) -> Table:
    """Read the header row.

    Args:
        lines: of the file, from its beginning, with their line ends as they are.
        separators: the first one with which the header row has a wanted name is used.
        wanted: possible names of the required column, the preferred one first.
        name: of the file, for messages.

    Raises:
        ConfigError: there is no such column, or several.
    """
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    rest = iter(lines)
    first = next(rest, "")
    separator = next(
        (each for each in separators if _place(_names([first], each), wanted) is not None),
        separators[0],
    )
    reader = csv.reader(chain([first], rest), delimiter=separator)
    names = _stripped(reader)
    place = _place(names, wanted)
    if place is None:
        raise ConfigError(f"{name}: {_missing(names, wanted[0])}")
    if names.count(names[place]) > 1:
        raise ConfigError(f"{name}: several columns are called {wanted[0]!r}; rename all but one")
    return Table(names, _rows(reader, len(names)))


class _Reader(Protocol):
    """The interface of a ``csv.reader``."""

    @property
    def line_num(self) -> int: ...

    def __next__(self) -> list[str]: ...


def _rows(reader: _Reader, columns: int) -> Iterator[TableRow]:
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield TableRow(reader.line_num, None, f"not a CSV row: {error}")
            continue
        if not row:
            continue
        if len(row) == columns:
            yield TableRow(reader.line_num, row)
        else:
            yield TableRow(reader.line_num, None, f"{len(row)} columns instead of {columns}")


def _names(lines: Sequence[str], separator: str) -> tuple[str, ...]:
    return _stripped(csv.reader(lines, delimiter=separator))


def _stripped(reader: _Reader) -> tuple[str, ...]:
    try:
        return tuple(value.strip() for value in next(reader))
    except (StopIteration, csv.Error):
        return ()


def _place(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    """Return the index of the first wanted name: as written, else ignoring case."""
    for name in wanted:
        if name in names:
            return names.index(name)
        folded = [each.casefold() for each in names]
        if name.casefold() in folded:
            return folded.index(name.casefold())
    return None


def _missing(names: Sequence[str], wanted: str) -> str:
    if all(_NAME.fullmatch(name) for name in names):
        shown = ", ".join(names[:10]) or "none"
        return f"no column {wanted!r} in its header row, but {shown}; rename a column"
    return (
        f"no column {wanted!r}: its first row names no columns; begin the file with a header row,"
        f" for example {wanted},id"
    )
