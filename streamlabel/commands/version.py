"""``streamlabel version``."""

import typer

__all__ = ["version"]


def version() -> None:
    """Print the version."""
    from streamlabel import __version__

    typer.echo(__version__)
