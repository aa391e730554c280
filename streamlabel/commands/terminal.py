"""Standard error for people: progress and marks on a terminal only, plain lines elsewhere."""

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

__all__ = ["progress", "say", "stderr_console"]


def say(message: str) -> None:
    """Write one line for people."""
    typer.echo(message, err=True)


def stderr_console() -> "Console":
    """Return a console on standard error; rich itself respects NO_COLOR."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


@contextmanager
def progress(what: str, *, total: int | None) -> "Iterator[Callable[[int, str], None]]":
    """Show a progress bar on a terminal; yields ``update(done, note)``.

    Args:
        what: stands before the bar.
        total: None if it is not known.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _note: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=stderr_console(), transient=True) as bar:
        task = bar.add_task(what, total=total, note="")
        yield lambda done, note: bar.update(task, completed=done, note=note)
