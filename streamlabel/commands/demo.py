"""``streamlabel demo``: the service on an embedded broker, with sample texts."""

import typer

__all__ = ["demo"]


def demo() -> None:
    """Run the service on an embedded broker with a real encoder and sample texts.

    The first run trains the encoder's classification head; later runs reuse it. Its files are in
    ./.demo.

    \b
    Examples:
      streamlabel demo
      make demo
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.extras import require

    require("the demo", extra="demo")

    from streamlabel.demo import run

    raise typer.Exit(run.main())
