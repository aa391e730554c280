"""The options of a bounded run, and its summary: ``streamlabel run --from ... --until ...``."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from streamlabel.commands.options import load_settings

if TYPE_CHECKING:
    from streamlabel.config.settings import Settings
    from streamlabel.consumer.bounded_run import Summary
    from streamlabel.consumer.delivery.time_range import TimeRange

__all__ = [
    "INTERRUPTED", "From", "Group", "SameGroup", "SameTopics", "Until", "bounded_settings",
    "print_summary", "range_of",
]  # fmt: skip

# Exit code after a signal: the range is not complete, so a job that is over must not look done.
INTERRUPTED: Final = 7

_OUTPUTS: Final = ("labels_topic", "review_topic", "dead_letter_topic")
_COLUMNS: Final = ("read", "labels", "review", "dead_letters")

From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="TIME",
        help="Bounded run: begin at this time (2026-11-01T00:00Z), or oldest, the default.",
        show_default=False,
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="TIME",
        help="Bounded run: end before this time (2026-11-02T00:00Z), or now, the default.",
        show_default=False,
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="NAME",
        help="Bounded run: its consumer group. Outputs go to the configured topics with .NAME"
        " appended, unless --set names others.",
        show_default=False,
    ),
]
SameGroup = Annotated[
    bool,
    typer.Option(
        "--same-group",
        help="Bounded run: read and commit in the configured group, from where it is.",
    ),
]
SameTopics = Annotated[
    bool,
    typer.Option("--same-topics", help="Bounded run: write to the configured output topics."),
]


def range_of(since: str | None, until: str | None, *, same_group: bool) -> "TimeRange":
    """Return the range that the options name.

    Raises:
        BadParameter: not a time, a time in the future, or an empty range.
    """
    from streamlabel.consumer.delivery.time_range import TimeRange
    from streamlabel.models.core.system_clock import SystemClock

    since_ms = None if since in {None, "oldest"} else _epoch_ms("--from", str(since), "oldest")
    until_ms = None if until in {None, "now"} else _epoch_ms("--until", str(until), "now")
    now_ms = SystemClock().epoch_ms()
    for option, text, time_ms in ("--from", since, since_ms), ("--until", until, until_ms):
        if time_ms is not None and time_ms > now_ms:
            raise typer.BadParameter(f"{option}: {text} is in the future")
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise typer.BadParameter(f"--until: {until} is not after --from {since}")
    return TimeRange(since_ms, until_ms, continues=same_group)


def _epoch_ms(option: str, text: str, word: str) -> int:
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise typer.BadParameter(
            f"{option}: write a time with its zone, 2026-11-01T00:00Z, or {word}"
        )
    return int(moment.timestamp() * 1000)


def bounded_settings(
    config: Path | None,
    overrides: Sequence[str] | None,
    *,
    group: str | None,
    same_group: bool,
    same_topics: bool,
) -> "Settings":
    """Return the settings of a bounded run: group and output topics are its own.

    What ``--set`` changes is taken as meant for this run, and everything else as the settings of a
    service that runs beside it.

    Raises:
        ConfigError: the run would commit in the group of the service, or write to its topics, and
            the options do not say so.
    """
    from streamlabel.errors import ConfigError

    given = load_settings(config, overrides).settings
    try:
        live = load_settings(config, None).settings
    except ConfigError:  # incomplete without --set
        live = given
    own_group = group or given.kafka.group_id
    if same_group and group is not None:
        raise ConfigError("--group, --same-group: give one of the two")
    if own_group == live.kafka.group_id and not same_group:
        raise ConfigError(
            f"--group: a bounded run in the group {own_group}, which the configuration names for"
            " the service, would commit in its place, and the service would miss records. Give"
            " another --group, or --same-group if this is meant"
        )
    topics = {}
    configured = dict(_topics(live))
    for name, topic in _topics(given):
        is_own = topic != configured.get(name) or same_topics
        topics[name] = topic if is_own else f"{topic}.{own_group}"
        if same_group and topics[name] != configured.get(name):
            raise ConfigError(
                "--same-group: what is committed in the group of the service must reach its output"
                f" topics, but {name} would be {topics[name]}; add --same-topics"
            )
    own = [f"kafka.group_id={own_group}"]
    own += [f"{name}={topic}" for name, topic in topics.items()]
    return load_settings(config, [*(overrides or ()), *own]).settings


def _topics(settings: "Settings") -> Iterator[tuple[str, str]]:
    """Yield the settings that name an output topic, those of tasks included."""
    for name in _OUTPUTS:
        yield f"output.{name}", getattr(settings.output, name)
    for task, section in settings.tasks.items():
        for name in _OUTPUTS:
            topic = getattr(section.output, name, None)
            if topic is not None:
                yield f"tasks.{task}.output.{name}", topic
    yield from settings.escalation_topics.items()


def print_summary(summary: "Summary", *, as_json: bool) -> None:
    """Print what this process did, by input partition."""
    from streamlabel.consumer.observability.columns import Column, Columns

    total = sum(summary.partitions.values(), Counter[str]())
    if as_json:
        import json

        partitions = {
            f"{topic}-{number}": {name: count[name] for name in _COLUMNS}
            for (topic, number), count in summary.partitions.items()
        }
        whole = {name: total[name] for name in _COLUMNS}
        seconds = round(summary.seconds, 1)
        about = {"complete": summary.is_complete, "seconds": seconds, **whole}
        typer.echo(json.dumps({**about, "partitions": partitions}))
        return
    titles = [name.upper().replace("_", " ") for name in _COLUMNS]
    longest = max((len(f"{topic}-{number}") for topic, number in summary.partitions), default=0)
    table = Columns(
        [
            Column("PARTITION", max(9, longest)),
            *(Column(title, len(title), is_number=True) for title in titles),
        ],
        width=None,
    )
    typer.echo(table.header())
    for (topic, number), count in summary.partitions.items():
        typer.echo(table.row([f"{topic}-{number}", *(str(count[name]) for name in _COLUMNS)]))
    typer.echo(table.row(["all", *(str(total[name]) for name in _COLUMNS)]))
    state = "complete" if summary.is_complete else "not complete; run it again to continue"
    typer.echo(f"{summary.seconds:.1f} s, {state}")
