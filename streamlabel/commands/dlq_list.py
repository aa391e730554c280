"""``streamlabel dlq list``: the dead letters on the topic with their reasons."""

from typing import TYPE_CHECKING, Annotated

import typer

from streamlabel.commands.dlq_options import (
    AsJson,
    Partitions,
    Reasons,
    Since,
    Until,
    selection_of,
)
from streamlabel.commands.options import ConfigFile, Overrides, load_settings
from streamlabel.commands.terminal import NoHeader

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from streamlabel.config.settings import Settings
    from streamlabel.consumer.output.dead_letter_reader import DeadLetter, Selection

__all__ = ["list_dead_letters"]


def list_dead_letters(
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    reasons: Reasons = None,
    partitions: Partitions = None,
    since: Since = None,
    until: Until = None,
    by_reason: Annotated[
        bool, typer.Option("--count", help="Print only the number of dead letters by reason.")
    ] = False,
    as_json: AsJson = False,
    no_header: NoHeader = False,
) -> None:
    """List the dead letters on the topic. Joins no consumer group, commits nothing.

    Columns: position on the dead-letter topic, reason, position of the input record, attempts,
    earlier replays, size of the value in bytes, whether it has been replayed, error message.
    On a terminal, rows are cut to its width; otherwise every record is one complete line.

    \b
    Examples:
      streamlabel dlq list -c streamlabel.yaml --count
      streamlabel dlq list -c streamlabel.yaml --reason inference_error --since 6h
      streamlabel dlq list -c streamlabel.yaml --json | jq -r .source
    """  # noqa: D301 \b keeps the lines as they are
    import asyncio
    from collections import Counter

    from streamlabel.commands.terminal import quiet_logs, say, stdout_width
    from streamlabel.consumer.observability.columns import Columns
    from streamlabel.consumer.observability.terminal_format import (
        dead_letter_cells,
        dead_letter_columns,
        dead_letter_json,
    )

    settings = load_settings(config, overrides).settings
    quiet_logs(settings)
    selection = selection_of(reasons, partitions, since, until)
    counts: Counter[tuple[str, bool]] = Counter()
    topics = (settings.output.dead_letter_topic, max(settings.input.weights, key=len, default=""))
    table = Columns(dead_letter_columns(*topics), width=stdout_width())

    def show(dead: "DeadLetter", was_replayed: bool) -> None:
        if not (counts or by_reason or as_json or no_header):
            typer.echo(table.header())
        counts[dead.reason, was_replayed] += 1
        if as_json and not by_reason:
            typer.echo(dead_letter_json(dead, was_replayed=was_replayed))
        elif not by_reason:
            typer.echo(table.row(dead_letter_cells(dead, was_replayed=was_replayed)))

    asyncio.run(_list(settings, selection, show))
    if not counts:
        say("no dead letters found")
    if by_reason:
        _show_counts(counts, as_json=as_json, no_header=no_header)


async def _list(
    settings: "Settings", selection: "Selection", show: "Callable[[DeadLetter, bool], None]"
) -> None:
    from contextlib import aclosing

    from streamlabel.consumer.kafka.partition_scan import Scanner
    from streamlabel.consumer.kafka.replay import receipts
    from streamlabel.consumer.kafka.topics import ensure_topics
    from streamlabel.consumer.output.dead_letter_reader import read
    from streamlabel.models.core.system_clock import SystemClock

    topic = settings.output.dead_letter_topic
    kafka = settings.kafka.model_copy(update={"create_topics": False})
    found = await ensure_topics(kafka, [topic])
    scanner = Scanner(kafka, topic, SystemClock())
    for partition in range(found[topic].partitions):
        if not selection.includes_partition(partition):
            continue
        until = await scanner.end(partition)
        done = await receipts(scanner, partition, until=until)
        async with aclosing(scanner.records(partition, until=until)) as records:
            async for record in records:
                dead = read(record)
                if dead is None or not selection.includes(dead):
                    continue
                show(dead, record.position.offset in done)


def _show_counts(counts: "Counter[tuple[str, bool]]", *, as_json: bool, no_header: bool) -> None:
    import json

    from streamlabel.consumer.observability.columns import Column, Columns
    from streamlabel.consumer.observability.terminal_format import printable

    reasons = sorted({reason for reason, _ in counts})
    if as_json:
        document = {
            reason: {"dead_letters": counts[reason, False] + counts[reason, True],
                     "replayed": counts[reason, True]}
            for reason in reasons
        }  # fmt: skip
        typer.echo(json.dumps(document, indent=2))
        return
    table = Columns(
        [
            Column("DEAD LETTERS", is_number=True),
            Column("REASON", 18),
            Column("REPLAYED", is_number=True),
        ],
        width=None,
    )
    if not no_header:
        typer.echo(table.header())
    for reason in reasons:
        here, replayed = counts[reason, False], counts[reason, True]
        typer.echo(table.row([str(here + replayed), printable(reason), str(replayed)]))
    done = sum(count for (_, was_replayed), count in counts.items() if was_replayed)
    typer.echo(table.row([str(counts.total()), "in all", str(done)]))
