"""``streamlabel produce``: write the texts of a file to the input topic."""

from typing import TYPE_CHECKING, Annotated

import typer

from streamlabel.commands.options import ConfigFile, Overrides, load_settings

if TYPE_CHECKING:
    from streamlabel.config.kafka import InputSettings
    from streamlabel.config.settings import Settings
    from streamlabel.consumer.kafka.feed import Fed

__all__ = ["produce"]


def produce(
    file: Annotated[
        str,
        typer.Option(
            "--file",
            "-f",
            metavar="IN",
            help="File of texts: .jsonl (lines are sent unchanged), .csv or .tsv (with a"
            " header row; other columns become metadata), or .txt (one text per line). -"
            " reads JSON lines from standard input.",
            show_default=False,
        ),
    ],
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    topic: Annotated[
        str | None,
        typer.Option(
            "--topic",
            metavar="TOPIC",
            help="Input topic to write to. Required if input.topics has several.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", min=0.01, metavar="N", help="Maximum records per second.", show_default=False
        ),
    ] = None,
    key_field: Annotated[
        str | None,
        typer.Option(
            "--key-field",
            metavar="PATH",
            help="JSON field or CSV column to use as the record key. Records with the same key"
            " keep their order.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write the texts of a file to the input topic, acknowledged by all in-sync replicas.

    \b
    Examples:
      streamlabel produce -c streamlabel.yaml --file texts.jsonl
      streamlabel produce -c streamlabel.yaml --file texts.csv --key-field user --rate 50
      echo '{"text": "hello"}' | streamlabel produce -c streamlabel.yaml --file -
    """  # noqa: D301 \b keeps the lines as they are
    import asyncio

    from streamlabel.commands.terminal import quiet_logs, say
    from streamlabel.consumer.kafka.feed import Fed

    settings = load_settings(config, overrides).settings
    quiet_logs(settings)
    target = _target(topic, settings.input)
    fed = Fed()
    try:
        asyncio.run(_produce(settings, file, topic=target, rate=rate, key_field=key_field, fed=fed))
    finally:
        if fed.line:
            _report(fed, file)
            say(f"{target}: {fed.acknowledged} acknowledged, of {fed.line} lines")


def _target(topic: str | None, settings: "InputSettings") -> str:
    inputs = list(settings.weights)
    if topic is None and len(inputs) == 1 and not settings.has_patterns:
        return inputs[0]
    if topic in inputs or (topic is not None and settings.entry_of(topic) is not None):
        return str(topic)
    names = settings.listed
    if topic is None:
        raise typer.BadParameter(f"--topic: name one of the input topics: {names}")
    raise typer.BadParameter(f"--topic: {topic} is no input topic; one of {names}")


def _report(fed: "Fed", file: str) -> None:
    from streamlabel.commands.terminal import say

    for line, why in fed.bad_lines:
        say(f"{file}, line {line}: {why}")
    if fed.bad > len(fed.bad_lines):
        say(f"... and {fed.bad - len(fed.bad_lines)} more lines that were not sent")


async def _produce(
    settings: "Settings",
    file: str,
    *,
    topic: str,
    rate: float | None,
    key_field: str | None,
    fed: "Fed",
) -> None:
    from pathlib import Path

    from streamlabel.commands.terminal import progress
    from streamlabel.consumer.files.feeding import Feeder
    from streamlabel.consumer.files.source import FileSource
    from streamlabel.consumer.files.text_files import format_of, read_records, settings_of
    from streamlabel.consumer.kafka.feed import feed
    from streamlabel.models.core.system_clock import SystemClock
    from streamlabel.tools.files import count_lines, open_input

    file_format = format_of(file)
    given = settings.input.of_topic(topic)
    feeder = Feeder(file_format, given, key_field)
    clock = SystemClock()
    name = "stdin" if file == "-" else Path(file).name
    with open_input(file) as stream, progress(name, total=count_lines(file)) as update:
        records = read_records(stream, file_format, settings_of(file_format, given))
        await feed(
            FileSource(records, name=name, clock=clock),
            feeder,
            settings,
            topic=topic,
            rate=rate,
            clock=clock,
            fed=fed,
            on_progress=lambda f: update(f.line, f"{f.acknowledged} acknowledged"),
        )
