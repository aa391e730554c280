"""``streamlabel check``: whether the service can start, and with which settings."""

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from streamlabel.commands.options import ConfigFile, Overrides, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from streamlabel.config.loading import Loaded
    from streamlabel.tools.preflight import PreflightCheck

__all__ = ["check"]


def check(
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Show every setting with its source, not only the ones that you set.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the configuration, brokers, topics and model, and classify one test text.

    Of one record of each input topic it shows which fields it has and what is taken as the text:
    types and lengths, never content.

    Creates no topics and joins no consumer group. The exit code is 0 if every check passes,
    otherwise that of the first check that fails. A line that begins with `warn` passes, and says
    what may go wrong.

    \b
    Examples:
      streamlabel check -c streamlabel.yaml
      streamlabel check -c streamlabel.yaml --verbose
      streamlabel check -c streamlabel.yaml --json | jq '.checks[] | select(.ok | not)'
    """  # noqa: D301 \b keeps the lines as they are
    import asyncio

    from streamlabel.commands.config import setting_rows
    from streamlabel.errors import ConfigError
    from streamlabel.tools.preflight import PreflightCheck

    def show(done: PreflightCheck) -> None:
        if not as_json:
            typer.echo(_line(done))

    rows: list[tuple[str, object, str]] = []
    try:
        loaded = load_settings(config, overrides)
    except ConfigError as error:
        checks = [PreflightCheck("configuration", failure=error)]
        show(checks[0])
    else:
        rows = setting_rows(loaded, changed=not verbose)
        checks = [PreflightCheck("configuration", _about(config, loaded))]
        show(checks[0])
        if not as_json:
            _show_settings(rows)
        checks += asyncio.run(_try(loaded, show))
    if as_json:
        _show_json(checks, rows)
    failures = [done.failure for done in checks if done.failure is not None]
    raise typer.Exit(failures[0].exit_code if failures else 0)


async def _try(
    loaded: "Loaded", show: "Callable[[PreflightCheck], None]"
) -> "list[PreflightCheck]":
    from streamlabel.commands.terminal import quiet_logs
    from streamlabel.models.core.system_clock import SystemClock
    from streamlabel.tools.broker_checks import check_broker
    from streamlabel.tools.plan_check import check_models
    from streamlabel.tools.preflight import check_files, check_format
    from streamlabel.tools.sample_check import check_samples

    settings = loaded.settings
    configure = quiet_logs(settings)
    done = []
    async for each in check_files(settings):
        done.append(each)
        show(each)
    async for each in check_format(settings):
        done.append(each)
        show(each)
    async for each in check_broker(settings):
        done.append(each)
        show(each)
    topics = {name: topic for each in done for name, topic in each.topics.items()}
    async for each in check_samples(settings, topics=topics, clock=SystemClock()):
        done.append(each)
        show(each)
    async for each in check_models(
        settings, clock=SystemClock(), configure_worker=configure, topics=topics
    ):
        done.append(each)
        show(each)
    return done


def _about(config: "Path | None", loaded: "Loaded") -> str:
    changed = sum(origin.kind != "default" for origin in loaded.origins.values())
    return f"{config or 'environment and flags'}, {changed} settings given, the rest are defaults"


def _line(done: "PreflightCheck") -> str:
    from streamlabel.config.masking import mask_credentials

    mark, color = "ok    ", typer.colors.GREEN
    if done.failure is not None:
        mark, color = "failed", typer.colors.RED
    elif done.warnings:
        mark, color = "warn  ", typer.colors.YELLOW
    if not os.environ.get("NO_COLOR"):
        mark = typer.style(mark, fg=color)
    first = done.detail if done.failure is None else str(done.failure)
    what = "\n".join(filter(None, [first, *done.warnings]))
    indented = mask_credentials(what).replace("\n", "\n" + " " * 23)
    # echo drops the color when the output is not a terminal
    return f"{mark} {done.name:<15} {indented}"


def _show_settings(rows: "Sequence[tuple[str, object, str]]") -> None:
    width = max((len(name) for name, _, _ in rows), default=0)
    for name, value, source in rows:
        typer.echo(f"{'':22} {name:<{width}}  {json.dumps(value, ensure_ascii=False)}  ({source})")


def _show_json(
    checks: "Sequence[PreflightCheck]", rows: "Sequence[tuple[str, object, str]]"
) -> None:
    from streamlabel.config.masking import mask_credentials

    document = {
        "ok": all(done.is_ok for done in checks),
        "checks": [
            {
                "name": done.name,
                "ok": done.is_ok,
                "detail": mask_credentials(done.detail),
                "warnings": [mask_credentials(warning) for warning in done.warnings],
                "failure": None if done.failure is None else mask_credentials(str(done.failure)),
                "exit_code": 0 if done.failure is None else done.failure.exit_code,
            }
            for done in checks
        ],
        "settings": {name: {"value": value, "source": source} for name, value, source in rows},
    }
    typer.echo(json.dumps(document, indent=2))
