"""``streamlabel dlq replay``: put dead letters back onto the input topic."""

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
    from streamlabel.config.settings import Settings
    from streamlabel.consumer.kafka.replay import Report

__all__ = ["replay_dead_letters"]

_WHY_NOT = {
    "replay": "may be replayed",
    "replayed": "were replayed before",
    "incomplete": "have no value, or lack key, value or headers: see the source position",
    "exhausted": "came back too often (--max-replays)",
    "elsewhere": "came from another topic than input.topic",
    "refused": "break a rule of input.topic: a key is missing, or the clocks differ",
    "too_large": "are larger than input.topic or kafka.max_request_bytes allows",
}


def replay_dead_letters(
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    reasons: Reasons = None,
    partitions: Partitions = None,
    since: Since = None,
    until: Until = None,
    execute: Annotated[
        bool,
        typer.Option(
            "--execute", help="Write the records. Without this flag the command is a dry run."
        ),
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", min=0.01, metavar="N", help="Maximum records per second.", show_default=False
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--limit",
            min=1,
            metavar="N",
            help="Maximum number of dead letters to replay.",
            show_default=False,
        ),
    ] = None,
    max_replays: Annotated[
        int,
        typer.Option(
            "--max-replays",
            min=1,
            metavar="N",
            help="Skip records that have already been replayed N times.",
        ),
    ] = 3,
    as_json: AsJson = False,
) -> None:
    """Write dead letters back to the input topic, with their original key, value and headers.

    Each dead letter is replayed once, even if the command is interrupted and run again: the
    records and a receipt of what was replayed are one transaction. Requires permission to write to
    the input topic.
    Try a few first (--limit 10): a record that fails again becomes a dead letter again, and too
    many in a row stop the service.

    \b
    Examples:
      streamlabel dlq replay -c streamlabel.yaml --reason inference_error
      streamlabel dlq replay -c streamlabel.yaml --reason inference_error --limit 10 --execute
      streamlabel dlq replay -c streamlabel.yaml --since 2d --rate 50 --execute
    """  # noqa: D301 \b keeps the lines as they are
    import asyncio

    from streamlabel.commands.terminal import progress, quiet_logs, say
    from streamlabel.consumer.kafka.replay import Replay, Report
    from streamlabel.models.core.system_clock import SystemClock

    settings = load_settings(config, overrides).settings
    quiet_logs(settings)
    report = Report()
    selection = selection_of(reasons, partitions, since, until)
    with progress(settings.output.dead_letter_topic, total=limit) as update:
        replay = Replay(
            settings,
            selection,
            max_replays=max_replays,
            rate=rate,
            limit=limit,
            execute=execute,
            clock=SystemClock(),
            report=report,
            on_progress=lambda now: update(now.written, "replayed"),
        )
        try:
            asyncio.run(replay.run())
        except KeyboardInterrupt:
            say(f"{report.written} record(s) were replayed; run the command again for the rest")
            raise
    _show_report(report, settings, executed=execute, as_json=as_json)


def _show_report(report: "Report", settings: "Settings", *, executed: bool, as_json: bool) -> None:
    import json

    from streamlabel.commands.terminal import say
    from streamlabel.consumer.observability.columns import Column, Columns
    from streamlabel.consumer.observability.terminal_format import printable

    rows = sorted(report.found.items())
    if as_json:
        found = [{"reason": r, "verdict": v, "dead_letters": count} for (r, v), count in rows]
        document = {"executed": executed, "replayed": report.written, "found": found}
        typer.echo(json.dumps(document, indent=2))
        return
    table = Columns(
        [
            Column("DEAD LETTERS", is_number=True),
            Column("REASON", 18),
            Column("OUTCOME"),
        ],
        width=None,
    )
    if rows:
        typer.echo(table.header())
    for (reason, verdict), count in rows:
        meaning = "replayed" if executed and verdict == "replay" else _WHY_NOT[verdict]
        typer.echo(table.row([str(count), printable(reason), meaning]))
    topic = settings.input.listed
    if executed:
        say(f"{report.written} record(s) written to {topic}")
    else:
        ready = sum(count for (_, verdict), count in rows if verdict == "replay")
        say(f"dry run, nothing was written: --execute would write {ready} record(s) to {topic}")
