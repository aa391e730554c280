"""``streamlabel version`` and ``streamlabel --version``."""

from typing import Annotated

import typer

__all__ = ["Version", "version"]


def version() -> None:
    """Print the version."""
    from streamlabel import __version__

    typer.echo(__version__)


def _print_and_leave(is_asked: bool) -> None:
    if is_asked:
        version()
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_print_and_leave, is_eager=True, help="Print the version and exit."
    ),
]
