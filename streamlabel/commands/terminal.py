"""Output of commands: messages and progress on standard error, tables on standard output."""

import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from streamlabel.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlabel.config.settings import Settings

__all__ = ["NoHeader", "progress", "quiet_logs", "say", "stdout_width"]

NoHeader = Annotated[bool, typer.Option("--no-header", help="Do not print the header row.")]


def say(message: str) -> None:
    """Write one line to standard error; credentials in addresses are masked."""
    from streamlabel.config.masking import mask_credentials

    typer.echo(mask_credentials(message), err=True)


def stdout_width() -> int | None:
    """Return the width of standard output in cells; None if it is not a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def quiet_logs(settings: "Settings") -> "Callable[[], None]":
    """Log warnings and errors only, because commands print their own messages.

    Returns:
        The same for a worker process.
    """
    import logging
    import os
    from functools import partial

    from streamlabel.consumer.observability.logs import configure_logging

    warnings = settings.logging.model_copy(update={"level": "WARNING"})
    configure = partial(configure_logging, warnings, environ=dict(os.environ))
    configure()
    # it logs every failed connection; the command's own error reports that once, with advice
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return configure
