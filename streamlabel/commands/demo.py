"""``streamlabel demo``: the service on an embedded broker, with sample texts."""

from typing import Annotated, Literal

import typer

__all__ = ["demo"]


def demo(
    *,
    console: Annotated[
        bool,
        typer.Option(
            "--console",
            help="At the end, open the review console on this machine, on the demo's own items.",
        ),
    ] = False,
    llm: Annotated[
        bool,
        typer.Option(
            "--llm",
            help="Then answer some of the texts with a small language model, prompted and tuned."
            " The first time, it is downloaded (93 MB) and tuned.",
        ),
    ] = False,
    example: Annotated[
        Literal["moderation", "tagging", "review-queue"] | None,
        typer.Option(
            "--example",
            help="Run one of the worked examples instead; each has a page in docs/examples.md.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run the service on an embedded broker with a real encoder and sample texts.

    The first run trains the encoder's classification head; later runs reuse it. Its files are in
    ./.demo.

    \b
    Examples:
      streamlabel demo
      streamlabel demo --console
      streamlabel demo --llm
      streamlabel demo --example tagging
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.extras import require

    require("the demo", extra="demo")
    if console:
        require("the console of the demo", extra="console")

    if example is not None:
        from streamlabel.demo import example_run

        raise typer.Exit(example_run.main(example))

    from streamlabel.demo import run

    raise typer.Exit(run.main(console=console, with_llms=llm))
