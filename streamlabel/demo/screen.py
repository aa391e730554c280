"""What the demo shows: a live view on a terminal, plain lines elsewhere, a summary at the end."""

from collections import deque
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streamlabel.demo.tally import Answer, Route, Tally

__all__ = ["Screen", "shown"]

_ROWS = 16
_TEXT_CHARACTERS = 64
_STYLES: Final[dict[Route, str]] = {"label": "green", "review": "yellow", "dead letter": "red"}


def shown(text: str, *, characters: int = _TEXT_CHARACTERS) -> str:
    """Return ``text`` on one line: shortened, and what a terminal would obey is written out."""
    cut = " ".join(text[: 4 * characters].split())
    safe = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in cut)
    return safe if len(safe) <= characters else safe[: characters - 1] + "…"


class Screen:
    """Shows answers as they arrive.

    Args:
        live: redraw one table in place; otherwise a line per answer.
    """

    def __init__(self, console: Console, tally: Tally, *, total: int, live: bool) -> None:
        self._console = console
        self._tally = tally
        self._total = total
        self._recent: deque[Answer] = deque(maxlen=_ROWS)
        self._live = Live(console=console, refresh_per_second=8, transient=True) if live else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, answer: Answer) -> None:
        """Show one more answer."""
        self._recent.append(answer)
        if self._live is not None:
            self._live.update(Group(self._table(), self._counts()))
        else:
            self._console.print(_line(answer), soft_wrap=True)

    def _table(self) -> Table:
        table = Table("route", "label", "conf.", "text", expand=True, title="as they arrive")
        for column, width in zip(table.columns, (11, 11, 5), strict=False):
            column.width = width
        table.columns[3].no_wrap = True
        for answer in self._recent:
            table.add_row(*_cells(answer))
        return table

    def _counts(self) -> Text:
        tally = self._tally
        counts = Text(f"{len(tally.answers)} of {self._total}:")
        for route, style in _STYLES.items():
            counts.append(f"  {route} {tally.count(route)}", style)
        return counts


def _cells(answer: Answer) -> tuple[Text, Text, Text, Text]:
    confidence = "" if answer.confidence is None else f"{answer.confidence:.2f}"
    return (
        Text(answer.route, _STYLES[answer.route]),
        Text(answer.label or "-"),
        Text(confidence),
        Text(shown(answer.sample.text) or "(nothing)"),
    )


def _line(answer: Answer) -> Text:
    route, label, confidence, text = (cell.plain for cell in _cells(answer))
    line = Text(f"{route:<11} ", _STYLES[answer.route])
    return line.append(f"{label:<10} {confidence:<4}  {text}", "default")
