"""``streamlabel monitor``: whether audits contradict the target error of a calibration."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streamlabel.commands.options import ConfigFile, Overrides, load_settings
from streamlabel.commands.terminal import NoHeader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlabel.config.settings import Settings
    from streamlabel.learning.monitor import TargetMonitor
    from streamlabel.learning.watching import Watch

__all__ = ["monitor"]

Tighten = Literal["no", "deploy", "file"]


def monitor(
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    verdicts: Annotated[
        Path | None,
        typer.Option(
            "--verdicts",
            metavar="FILE",
            help="Verdicts as JSON lines, in order of arrival.",
            show_default=False,
        ),
    ] = None,
    topic: Annotated[
        str | None,
        typer.Option(
            "--topic",
            metavar="TOPIC",
            help="Topic of verdicts, instead of a file.",
            show_default=False,
        ),
    ] = None,
    earlier: Annotated[
        list[Path] | None,
        typer.Option(
            "--calibration",
            metavar="FILE",
            help="Calibration that was in force before, for its verdicts. May be repeated.",
            show_default=False,
        ),
    ] = None,
    tighten: Annotated[
        Tighten,
        typer.Option(
            "--tighten",
            help="After an alarm, step to the next stricter proven thresholds. deploy: all members"
            " do, through control.topic; file: write a calibration to --out.",
        ),
    ] = "no",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Calibration file to write after an alarm, with --tighten file.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            "-f",
            help="Go on with new verdicts of --topic until interrupted, and serve metrics on"
            " http.port.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per row.")] = False,
    no_header: NoHeader = False,
) -> None:
    """Bet against the target error with every audit that reviewers decide. Exit code 8: an alarm.

    If the error rate of accepted labels is at most the target, an alarm has a probability of at
    most 5 % (one minus the confidence of the calibration), whenever and however often one looks.
    The labels together have as much once more for alarms of their own. Each change of deployment,
    calibration or thresholds begins again. Thresholds are only tightened, never loosened.

    \b
    Examples:
      streamlabel monitor -c streamlabel.yaml --verdicts verdicts.jsonl
      streamlabel monitor -c streamlabel.yaml --topic verdicts --follow --tighten deploy
    """  # noqa: D301 \b keeps the lines as they are
    import asyncio

    from streamlabel.commands.terminal import quiet_logs, say
    from streamlabel.errors import TargetErrorAlarmError

    settings = load_settings(config, overrides).settings
    quiet_logs(settings)
    _refuse_contradictions(settings, verdicts, topic, tighten, out, follow=follow)
    if tighten == "deploy":
        settings = asyncio.run(_deployed(settings))
    state = _watch(settings, earlier or [], tighten, out)
    asyncio.run(_read(state, settings, verdicts, topic, follow=follow))
    for line in _lines(state.monitor, as_json=as_json, no_header=no_header):
        typer.echo(line)
    for name, count in state.monitor.unknown.items():
        say(
            f"{count:,} audit(s) are of the calibration {name or '(none)'}, whose target error is"
            " not known; add its file with --calibration"
        )
    if state.alarms:
        raise TargetErrorAlarmError("\n".join(state.alarms))


def _refuse_contradictions(
    settings: "Settings",
    verdicts: Path | None,
    topic: str | None,
    tighten: Tighten,
    out: Path | None,
    *,
    follow: bool,
) -> None:
    from streamlabel.errors import ConfigError
    from streamlabel.learning.tightening import deployed_of
    from streamlabel.learning.watching import ONE_THRESHOLD

    if (verdicts is None) == (topic is None):
        raise ConfigError("give either --verdicts FILE or --topic TOPIC")
    if follow and topic is None:
        raise ConfigError("--follow needs --topic: a file does not grow by itself")
    if (tighten == "file") != (out is not None):
        raise ConfigError("--tighten file and --out FILE belong together")
    if tighten == "deploy" and settings.control.topic is None:
        raise ConfigError("--tighten deploy: set control.topic and control.key, or use file")
    if tighten == "deploy" and any(each.absent for each in deployed_of(settings)):
        raise ConfigError(ONE_THRESHOLD)


def _watch(
    settings: "Settings", earlier: list[Path], tighten: Tighten, out: Path | None
) -> "Watch":
    from streamlabel.commands.deploy import publish
    from streamlabel.commands.terminal import say
    from streamlabel.learning.tightening import deployed_of
    from streamlabel.learning.watching import Watch, through_deployment, to_file
    from streamlabel.models.calibration.calibration_file import CalibrationFile

    respond = None
    if tighten == "deploy":
        respond = through_deployment(settings, publish)
    elif out is not None:
        respond = to_file(out)
    files = [CalibrationFile.read(path) for path in earlier]
    return Watch(deployed_of(settings), earlier=files, respond=respond, say=say)


async def _read(
    state: "Watch", settings: "Settings", path: Path | None, topic: str | None, *, follow: bool
) -> None:
    from streamlabel.commands.terminal import say
    from streamlabel.learning.following import follow as follow_topic
    from streamlabel.learning.ledger import verdicts_of_file, verdicts_of_topic
    from streamlabel.models.core.system_clock import SystemClock

    if topic is not None and follow:
        await follow_topic(state, settings, topic, SystemClock())
    if topic is not None:
        ledger = await verdicts_of_topic(settings.kafka, topic, SystemClock(), settings.output)
    else:
        ledger = verdicts_of_file(path or Path("-"))
    if ledger.unread:
        say(f"{ledger.unread:,} message(s) are no verdicts and are left out: {ledger.fault}")
    for name, verdict in ledger.verdicts.items():
        await state.saw(name, verdict)


def _lines(monitor: "TargetMonitor", *, as_json: bool, no_header: bool) -> "Iterator[str]":
    import dataclasses
    import json

    from streamlabel.commands.terminal import stdout_width
    from streamlabel.consumer.observability.columns import Column, Columns
    from streamlabel.consumer.observability.terminal_format import printable

    table = Columns(
        [
            Column("THRESHOLDS", 16),
            Column("TASK", 10),
            Column("LABEL", 12),
            Column("TARGET", is_number=True),
            Column("AUDITS", is_number=True),
            Column("WRONG", is_number=True),
            Column("UNDECIDED", is_number=True),
            Column("AT MOST", is_number=True),
            Column("EVIDENCE", is_number=True),
            Column("ALARM"),
        ],
        width=stdout_width(),
    )
    if not (as_json or no_header):
        yield table.header()
    for each in monitor.standings():
        if as_json:
            yield json.dumps(dataclasses.asdict(each))
            continue
        yield table.row(
            [
                each.watched.threshold_set_id or "-",
                printable(each.watched.task or "-"),
                printable(each.label or "(all)"),
                f"{each.target:.1%}",
                f"{each.audits:,}",
                f"{each.wrong:,}",
                f"{each.undecided:,}",
                f"{each.upper:.1%}",
                f"{each.evidence:.1f} of {each.alarm_at:.1f}",
                "ALARM" if each.has_alarm else "no",
            ]
        )


async def _deployed(settings: "Settings") -> "Settings":
    """Return the settings with what was deployed last, which may be stricter than the file."""
    from streamlabel.commands.deploy import messages_of, topic_of
    from streamlabel.consumer.control.messages import Order, ordered_settings

    topic = topic_of(settings)
    await topic.ensure()
    orders = [
        each
        for each in await messages_of(settings, topic)
        if isinstance(each, Order) and each.group == settings.kafka.group_id
    ]
    return ordered_settings(settings, orders[-1].sections) if orders else settings
