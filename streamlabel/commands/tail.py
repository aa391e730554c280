"""``streamlabel tail``: watch an output topic."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streamlabel.commands.options import ConfigFile, Overrides, load_settings

if TYPE_CHECKING:
    from streamlabel.config.settings import Settings

__all__ = ["tail"]

Which = Literal["labels", "review", "dead-letter"]


def tail(
    which: Annotated[Which, typer.Argument(help="Which output to watch.", show_default=False)],
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    count: Annotated[
        int | None,
        typer.Option("-n", "--count", min=1, metavar="N", help="End after this many records."),
    ] = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin with the oldest record, not with the next.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON object a line, in ASCII.")
    ] = False,
) -> None:
    """Watch labels, review or dead letters as they come. Joins no group, commits nothing.

    A label's line has its input position, label, confidence, route and id; review adds the text,
    with every character escaped that could play tricks on a terminal; a dead letter has its reason.

    \b
    Examples:
      streamlabel tail labels -c streamlabel.yaml
      streamlabel tail review -c streamlabel.yaml --from-start -n 20
      streamlabel tail dead-letter -c streamlabel.yaml --from-start --json | jq .error_reason
    """  # noqa: D301 \b keeps the lines as they are
    import asyncio

    from streamlabel.commands.terminal import quiet_logs

    settings = load_settings(config, overrides).settings
    quiet_logs(settings)
    asyncio.run(_tail(settings, which, count=count, from_start=from_start, as_json=as_json))


async def _tail(
    settings: "Settings", which: Which, *, count: int | None, from_start: bool, as_json: bool
) -> None:
    from contextlib import aclosing

    from streamlabel.consumer.clock import SystemClock
    from streamlabel.consumer.kafka_watch import watch
    from streamlabel.consumer.reading_aloud import json_line, line

    topic = {
        "labels": settings.output.labels_topic,
        "review": settings.output.review_topic,
        "dead-letter": settings.output.dead_letter_topic,
    }[which]
    shown = 0
    records = watch(settings.kafka, topic, from_start=from_start, clock=SystemClock())
    async with aclosing(records):
        async for record in records:
            typer.echo(json_line(which, record) if as_json else line(which, record))
            shown += 1
            if shown == count:
                return
