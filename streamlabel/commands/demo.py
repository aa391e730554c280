"""``streamlabel demo``: see it work, with nothing set up."""

import typer

__all__ = ["demo"]


def demo() -> None:
    """Run the service on an embedded broker, with a real encoder and sample texts, and watch it.

    The first run fits the encoder's head; later ones start at once. Files go to ./.demo.

    \b
    Examples:
      streamlabel demo
      make demo
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.demo import run

    raise typer.Exit(run.main())
