"""Standard error for people: progress and marks on a terminal only, plain lines elsewhere."""

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from streamlabel.config.settings import Settings

__all__ = ["progress", "quiet_logs", "say", "stderr_console"]


def say(message: str) -> None:
    """Write one line for people."""
    typer.echo(message, err=True)


def stderr_console() -> "Console":
    """Return a console on standard error; rich itself respects NO_COLOR."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def quiet_logs(settings: "Settings") -> "Callable[[], None]":
    """Log trouble only: what a command has to say, it says itself.

    Returns:
        The same for a worker process.
    """
    import logging
    import os
    from functools import partial

    from streamlabel.consumer.logs import configure_logging

    warnings = settings.logging.model_copy(update={"level": "WARNING"})
    configure = partial(configure_logging, warnings, environ=dict(os.environ))
    configure()
    # it logs every connection that fails; the command's own error says it once, with advice
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return configure


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
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=stderr_console(), transient=True) as bar:
        task = bar.add_task(what, total=total, note="")
        yield lambda done, note: bar.update(task, completed=done, note=note)
