"""Progress reports: a bar on a terminal, otherwise a line at intervals.

Both continue while no progress is reported, so that a wait is visible.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Protocol

__all__ = ["Update", "progress"]

# Long enough for a log, short enough to show that the program has not hung.
_PERIOD_S = 10.0


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
    stream: IO[str] | None = None,
    period_s: float = _PERIOD_S,
    is_terminal: bool | None = None,
) -> Iterator[Update]:
    """Show progress until the context ends; yields ``update(done, note)``.

    Args:
        what: text before the figures.
        total: None if it is not known.
        stream: for the output; None: standard error.
        period_s: interval between lines without a terminal.
        is_terminal: None to ask the stream.
    """
    out = sys.stderr if stream is None else stream
    shown = _bar if (out.isatty() if is_terminal is None else is_terminal) else _lines
    with shown(what, total, out, period_s) as update:
        yield update


@contextmanager
def _bar(what: str, total: int | None, stream: IO[str], _period_s: float) -> Iterator[Update]:
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
        task = bar.add_task(what, total=total, note="")

        def update(done: int, note: str, *, total: int | None = None) -> None:
            bar.update(task, completed=done, note=note, total=total)  # None keeps the total

        yield update


@contextmanager
def _lines(what: str, total: int | None, stream: IO[str], period_s: float) -> Iterator[Update]:
    began_s = time.monotonic()
    now = (0, total, "")
    is_over = threading.Event()

    def tell() -> None:
        while not is_over.wait(period_s):
            done, of, note = now
            share = f"{done:,}" if of is None else f"{done:,} of {of:,}"
            gone_s = time.monotonic() - began_s
            seconds = f"{gone_s:.0f} s"
            if of and 0 < done < of:
                seconds += f", about {gone_s * (of - done) / done:.0f} s left"
            print(": ".join((what, ", ".join(filter(None, (share, note, seconds))))), file=stream)
            stream.flush()

    def update(done: int, note: str, *, total: int | None = None) -> None:
        nonlocal now
        now = (done, total or now[1], note)

    # a thread, because the work may block the event loop or run without one
    teller = threading.Thread(target=tell, name="progress", daemon=True)
    teller.start()
    try:
        yield update
    finally:
        is_over.set()
        teller.join()
