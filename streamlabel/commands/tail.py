"""``streamlabel tail``: watch an output topic."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streamlabel.commands.options import ConfigFile, Overrides, load_settings
from streamlabel.commands.terminal import NoHeader

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlabel.config.settings import Settings
    from streamlabel.consumer.core.records import SourceRecord

__all__ = ["tail"]

Which = Literal["labels", "review", "dead-letter"]


def tail(
    which: Annotated[Which, typer.Argument(help="Output topic to watch.", show_default=False)],
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="NAME",
            help="Name of the task whose topic to watch, if the stream has several.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("-n", "--count", min=1, metavar="N", help="Stop after this many records."),
    ] = None,
    from_start: Annotated[
        bool,
        typer.Option(
            "--from-start", help="Start with the oldest record instead of the next new one."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line, in ASCII.")
    ] = False,
    no_header: NoHeader = False,
) -> None:
    """Print new labels, review records or dead letters. Joins no consumer group, commits nothing.

    A label's row has its input position, label, confidence, route and id. A review row adds the
    text with terminal control characters escaped. A dead letter's row has its reason. On a
    terminal, rows are cut to its width; otherwise every record is one complete line.

    \b
    Examples:
      streamlabel tail labels -c streamlabel.yaml
      streamlabel tail review -c streamlabel.yaml --from-start -n 20
      streamlabel tail dead-letter -c streamlabel.yaml --from-start --json | jq .error_reason
    """  # noqa: D301 \b keeps the lines as they are
    import asyncio

    from streamlabel.commands.terminal import quiet_logs, stdout_width
    from streamlabel.consumer.observability.columns import Columns
    from streamlabel.consumer.observability.terminal_format import cells, columns, json_line

    settings = _of_task(load_settings(config, overrides).settings, task)
    quiet_logs(settings)
    table = Columns(
        columns(which, max(settings.input.weights, key=len, default="")), width=stdout_width()
    )
    if not (as_json or no_header):
        typer.echo(table.header())

    def show(record: "SourceRecord") -> str:
        return json_line(which, record) if as_json else table.row(cells(which, record))

    asyncio.run(_tail(settings, which, show, count=count, from_start=from_start))


def _of_task(settings: "Settings", task: str | None) -> "Settings":
    """Return the settings with the topics of one task."""
    from streamlabel.config.deployments import all_deployments
    from streamlabel.errors import ConfigError

    by_task = {each.task: each.settings for each in all_deployments(settings)}
    if task is None and (len(settings.labels_topics), len(settings.review_topics)) == (1, 1):
        return next(iter(by_task.values()))
    if task in by_task:
        return by_task[task]
    listed = ", ".join(settings.tasks) or "none"
    raise ConfigError(f"--task: choose one of the tasks of the configuration: {listed}")


async def _tail(
    settings: "Settings",
    which: Which,
    show: "Callable[[SourceRecord], str]",
    *,
    count: int | None,
    from_start: bool,
) -> None:
    from contextlib import aclosing

    from streamlabel.consumer.kafka.topic_reader import watch
    from streamlabel.consumer.output.output_reader import OutputReader
    from streamlabel.models.core.system_clock import SystemClock

    topic = {
        "labels": settings.output.labels_topic,
        "review": settings.output.review_topic,
        "dead-letter": settings.output.dead_letter_topic,
    }[which]
    shown = 0
    records = watch(settings.kafka, topic, from_start=from_start, clock=SystemClock())
    outputs = OutputReader(settings.output, SystemClock())
    async with aclosing(records):
        async for each in records:
            [record] = [each] if which == "dead-letter" else await outputs.plain([each])
            typer.echo(show(record))
            shown += 1
            if shown == count:
                return
