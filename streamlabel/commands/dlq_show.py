"""``streamlabel dlq show``: print one dead letter in full."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from streamlabel.commands.dlq_options import AsJson
from streamlabel.commands.options import ConfigFile, Overrides, load_settings

if TYPE_CHECKING:
    from streamlabel.config.settings import Settings
    from streamlabel.consumer.core.records import Position
    from streamlabel.consumer.kafka.partition_scan import Scanner
    from streamlabel.consumer.output.dead_letter_reader import DeadLetter

__all__ = ["show_dead_letter"]


def show_dead_letter(
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    position: Annotated[
        str,
        typer.Option(
            "--position",
            metavar="TOPIC/PARTITION/OFFSET",
            help="Position of the dead letter, or of the input record that it came from. Also"
            " accepted with dashes (TOPIC-PARTITION-OFFSET), as logs and `dlq list` print"
            " it.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Print one dead letter: the error, and key, headers and value of the record.

    Up to 10,000 characters of the value are printed, with terminal control characters escaped;
    --json prints all of it. Joins no consumer group, commits nothing.

    \b
    Examples:
      streamlabel dlq show -c streamlabel.yaml --position dead-letters/0/17
      streamlabel dlq show -c streamlabel.yaml --position texts-3-90818
      streamlabel dlq show -c streamlabel.yaml --position dead-letters/0/17 --json | jq -r .value
    """  # noqa: D301 \b keeps the lines as they are
    import asyncio

    from streamlabel.commands.terminal import quiet_logs
    from streamlabel.consumer.observability.dead_letter_page import (
        dead_letter_document,
        dead_letter_page,
    )

    settings = load_settings(config, overrides).settings
    quiet_logs(settings)
    dead, was_replayed = asyncio.run(_find(settings, _position(position)))
    show = dead_letter_document if as_json else dead_letter_page
    typer.echo(show(dead, was_replayed=was_replayed))


def _position(text: str) -> "Position":
    from streamlabel.consumer.core.records import Position

    found = re.fullmatch(r"(.+)[/-](\d{1,9})[/-](\d{1,18})", text)
    if found is None:
        raise typer.BadParameter("--position: write topic/partition/offset")
    return Position(found[1], int(found[2]), int(found[3]))


async def _find(settings: "Settings", wanted: "Position") -> "tuple[DeadLetter, bool]":
    from streamlabel.consumer.kafka.partition_scan import Scanner
    from streamlabel.consumer.kafka.replay import receipts
    from streamlabel.consumer.kafka.topics import ensure_topics
    from streamlabel.errors import ConfigError
    from streamlabel.models.core.system_clock import SystemClock

    topic = settings.output.dead_letter_topic
    kafka = settings.kafka.model_copy(update={"create_topics": False})
    partitions = (await ensure_topics(kafka, [topic]))[topic].partitions
    scanner = Scanner(kafka, topic, SystemClock())
    home = wanted.partition % partitions  # the partition unless some were added
    places = [wanted.partition] if wanted.topic == topic else [home, *range(partitions)]
    for partition in dict.fromkeys(places):
        if partition >= partitions:
            break
        until = await scanner.end(partition)
        dead = await _last(scanner, partition, wanted, until)
        if dead is not None:
            at = dead.record.position
            done = await receipts(scanner, partition, until=until)
            return dead, at.offset in done
    raise ConfigError(
        f"there is no dead letter of {wanted.topic}/{wanted.partition}/{wanted.offset} on {topic};"
        " `streamlabel dlq list` lists all of them"
    )


async def _last(
    scanner: "Scanner", partition: int, wanted: "Position", until: int
) -> "DeadLetter | None":
    """Return the dead letter at a position, or the last one of the record at that position."""
    from contextlib import aclosing

    from streamlabel.consumer.output.dead_letter_reader import read

    last = None
    async with aclosing(scanner.records(partition, until=until)) as records:
        async for record in records:
            dead = read(record)
            if dead is not None and wanted in (record.position, dead.source):
                last = dead
    return last
