"""Output of the demo: a live view on a terminal, otherwise lines; a summary at the end."""

from collections import deque
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from streamlabel.consumer.observability.columns import Column, Columns, fitted
from streamlabel.consumer.observability.terminal_format import printable
from streamlabel.demo.tally import Answer, Route, Tally

__all__ = ["Screen", "shown"]

_ROWS = 16
_TEXT_CELLS = 64
# Wide enough for every value of these columns. The text is last, because terminals disagree about
# the width of some scripts, and columns after it would not be aligned.
_COLUMNS: Final = (Column("ROUTE", 11), Column("LABEL", 10), Column("CONF.", 5), Column("TEXT"))
_STYLES: Final[dict[Route, str]] = {"label": "green", "review": "yellow", "dead letter": "red"}


def shown(text: str, *, cells: int = _TEXT_CELLS) -> str:
    """Return ``text`` on one line: shortened, and with terminal control characters escaped."""
    return fitted(printable(" ".join(text[: 4 * cells].split()), limit=4 * cells), cells)


class Screen:
    """Shows outputs as they arrive.

    Args:
        live: redraw one table in place; otherwise print a line per output.
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
        """Show one more output."""
        self._recent.append(answer)
        if self._live is not None:
            self._live.update(Group(self._table(), self._counts()))
        else:
            self._console.print(_line(answer), soft_wrap=True)

    def _table(self) -> Group:
        width = self._console.width
        table = Columns(_COLUMNS, width=width)
        rows = [Text(table.header(), "bold", no_wrap=True, overflow="ignore")]
        for answer in self._recent:
            row = Text(table.row(_cells(answer, width)), no_wrap=True, overflow="ignore")
            row.stylize(_STYLES[answer.route], 0, _COLUMNS[0].width)
            rows.append(row)
        return Group(*rows)

    def _counts(self) -> Text:
        tally = self._tally
        counts = Text(f"{len(tally.answers)} of {self._total}:")
        for route, style in _STYLES.items():
            counts.append(f"  {route} {tally.count(route)}", style)
        return counts


def _cells(answer: Answer, text_cells: int = _TEXT_CELLS) -> list[str]:
    confidence = "" if answer.confidence is None else f"{answer.confidence:.2f}"
    text = shown(answer.sample.text, cells=text_cells) or "(nothing)"
    return [answer.route, answer.label or "-", confidence, text]


def _line(answer: Answer) -> Text:
    line = Text(Columns(_COLUMNS, width=None).row(_cells(answer)))
    line.stylize(_STYLES[answer.route], 0, _COLUMNS[0].width)
    return line
