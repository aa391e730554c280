"""Progress reports: a bar on a terminal, otherwise a line at intervals.

Both continue while no progress is reported, so that a wait is visible.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Protocol

__all__ = ["ProgressLines", "Update", "duration", "progress"]

# The first line is early, to show that it works; the others are few enough for a log of hours.
_FIRST_S = 5.0
_PERIOD_S = 60.0
# Below these, a duration is said in seconds, and in minutes.
_SHOWN_IN_S = 120
_SHOWN_IN_MINUTES = 120


class Update(Protocol):
    """Reports progress."""

    def __call__(self, done: int, note: str, *, total: int | None = None) -> None:
        """Show ``done`` of ``total``, if that is known, followed by a note."""
        ...


@contextmanager
def progress(
    what: str,
    *,
    total: int | None,
    before: int = 0,
    stream: IO[str] | None = None,
    first_s: float = _FIRST_S,
    period_s: float = _PERIOD_S,
    is_terminal: bool | None = None,
) -> Iterator[Update]:
    """Show progress until the context ends; yields ``update(done, note)``.

    Args:
        what: text before the figures.
        total: None if it is not known.
        before: what was done before this began, for example before it was interrupted; it does not
            count for the time left.
        stream: for the output; None: standard error.
        first_s: time until the first line without a terminal.
        period_s: interval between the later ones.
        is_terminal: None to ask the stream.
    """
    out = sys.stderr if stream is None else stream
    if out.isatty() if is_terminal is None else is_terminal:
        shown = _bar(what, total, before, out)
    else:
        began_s = time.monotonic()
        lines = ProgressLines(
            what, total, before=before, began_s=began_s, first_s=first_s, period_s=period_s
        )
        shown = _lines(lines, out)
    with shown as update:
        yield update


class ProgressLines:
    """Decides when a line of progress is due, and what it says; the time is passed to it.

    Args:
        what: text before the figures.
        total: None if it is not known.
        before: see ``progress``.
        began_s: time at which it begins.
        first_s: time from then until the first line.
        period_s: interval between the later ones.

    Attributes:
        next_s: when the next line is due.
    """

    def __init__(
        self,
        what: str,
        total: int | None,
        *,
        before: int = 0,
        began_s: float,
        first_s: float = _FIRST_S,
        period_s: float = _PERIOD_S,
    ) -> None:
        self._what = what
        self._before = before
        self._began_s = began_s
        self._period_s = period_s
        self._now = (before, total, "")
        self.next_s = began_s + min(first_s, period_s)

    def update(self, done: int, note: str, *, total: int | None = None) -> None:
        """See ``Update``."""
        self._now = (done, total or self._now[1], note)

    def line(self, now_s: float) -> str | None:
        """Return the line that is due now, once; None before ``next_s``."""
        if now_s < self.next_s:
            return None
        self.next_s = now_s + self._period_s
        done, of, note = self._now
        share = f"{done:,}" if of is None else f"{done:,} of {of:,}"
        gone_s = now_s - self._began_s
        seconds = duration(gone_s)
        if of and self._before < done < of:
            left_s = gone_s * (of - done) / (done - self._before)
            seconds += f", about {duration(left_s)} left"
        return ": ".join((self._what, ", ".join(filter(None, (share, note, seconds)))))


def duration(seconds: float) -> str:
    """Return a duration for people: ``90 s``, ``35 min`` or ``3 h 20 min``."""
    if seconds < _SHOWN_IN_S:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < _SHOWN_IN_MINUTES:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def _bar(what: str, total: int | None, before: int, stream: IO[str]) -> Iterator[Update]:
    from rich.console import Console  # noqa: PLC0415 most commands end before they need it
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    console = Console(file=stream, highlight=False)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total, completed=before, note="")

        def update(done: int, note: str, *, total: int | None = None) -> None:
            bar.update(task, completed=done, note=note, total=total)  # None keeps the total

        yield update


@contextmanager
def _lines(lines: ProgressLines, stream: IO[str]) -> Iterator[Update]:
    is_over = threading.Event()

    def tell() -> None:
        while not is_over.wait(max(0.0, lines.next_s - time.monotonic())):
            if line := lines.line(time.monotonic()):
                print(line, file=stream)
                stream.flush()

    # a thread, because the work may block the event loop or run without one
    teller = threading.Thread(target=tell, name="progress", daemon=True)
    teller.start()
    try:
        yield lines.update
    finally:
        is_over.set()
        teller.join()
