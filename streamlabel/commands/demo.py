"""``streamlabel demo``: the service on an embedded broker, with sample texts."""

from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    *,
    llm: Annotated[
        bool,
        typer.Option(
            "--llm",
            help="Then answer some of the texts with a small language model, prompted and tuned."
            " The first time, it is downloaded (93 MB) and tuned.",
        ),
    ] = False,
) -> None:
    """Run the service on an embedded broker with a real encoder and sample texts.

    The first run trains the encoder's classification head; later runs reuse it. Its files are in
    ./.demo.

    \b
    Examples:
      streamlabel demo
      streamlabel demo --llm
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.extras import require

    require("the demo", extra="demo")

    from streamlabel.demo import run

    raise typer.Exit(run.main(with_llms=llm))
