"""``streamlabel dlq list``: which dead letters there are, and why."""

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

if TYPE_CHECKING:
    from collections import Counter

    from streamlabel.config.settings import Settings
    from streamlabel.consumer.replay import Selection

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
        bool, typer.Option("--count", help="Only how many there are of each reason.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the dead letters that are there now. Joins no group, commits nothing.

    Columns: position on the dead-letter topic, reason, position of the record that it was,
    attempts, replays before, size of its value in bytes, whether it was replayed since, message.

    \b
    Examples:
      streamlabel dlq list -c streamlabel.yaml --count
      streamlabel dlq list -c streamlabel.yaml --reason inference_error --since 6h
      streamlabel dlq list -c streamlabel.yaml --json | jq -r .source
    """  # noqa: D301 \b keeps the lines as they are
    import asyncio
    from collections import Counter

    from streamlabel.commands.terminal import quiet_logs

    settings = load_settings(config, overrides).settings
    quiet_logs(settings)
    selection = selection_of(reasons, partitions, since, until)
    counts: Counter[tuple[str, bool]] = Counter()
    asyncio.run(
        _list(settings, selection, counts, shown=not by_reason, as_json=as_json and not by_reason)
    )
    if by_reason:
        _show_counts(counts, as_json=as_json)


async def _list(
    settings: "Settings",
    selection: "Selection",
    counts: "Counter[tuple[str, bool]]",
    *,
    shown: bool,
    as_json: bool,
) -> None:
    from contextlib import aclosing

    from streamlabel.consumer.clock import SystemClock
    from streamlabel.consumer.kafka_replay import receipts
    from streamlabel.consumer.kafka_scan import Scanner
    from streamlabel.consumer.reading_aloud import dead_letter_json, dead_letter_row
    from streamlabel.consumer.replay import read
    from streamlabel.consumer.topics import ensure_topics

    topic = settings.output.dead_letter_topic
    kafka = settings.kafka.model_copy(update={"create_topics": False})
    found = await ensure_topics(kafka, [topic])
    scanner = Scanner(kafka, topic, SystemClock())
    show = dead_letter_json if as_json else dead_letter_row
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
                was_replayed = record.position.offset in done
                counts[dead.reason, was_replayed] += 1
                if shown:
                    typer.echo(show(dead, was_replayed=was_replayed))


def _show_counts(counts: "Counter[tuple[str, bool]]", *, as_json: bool) -> None:
    import json

    from streamlabel.consumer.reading_aloud import printable

    reasons = sorted({reason for reason, _ in counts})
    if as_json:
        table = {
            reason: {"dead_letters": counts[reason, False] + counts[reason, True],
                     "replayed": counts[reason, True]}
            for reason in reasons
        }  # fmt: skip
        typer.echo(json.dumps(table, indent=2))
        return
    for reason in reasons:
        here, replayed = counts[reason, False], counts[reason, True]
        typer.echo(f"{here + replayed:>9}  {printable(reason):<18}  {replayed} of them replayed")
    typer.echo(f"{counts.total():>9}  in all")
