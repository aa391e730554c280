"""``streamlabel check``: would the service start, and what would it run with?"""

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from streamlabel.commands.options import ConfigFile, Overrides, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from streamlabel.config.loading import Loaded
    from streamlabel.consumer.checks import Check

__all__ = ["check"]


def check(
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Show every setting with its source, not only yours."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Try everything that the service needs: configuration, brokers, topics, model, a probe text.

    Nothing is created, no group is joined. Exit code 0 only if all hold, else that of the first
    that does not.

    \b
    Examples:
      streamlabel check -c streamlabel.yaml
      streamlabel check -c streamlabel.yaml --verbose
      streamlabel check -c streamlabel.yaml --json | jq '.checks[] | select(.ok | not)'
    """  # noqa: D301 \b keeps the lines as they are
    import asyncio

    from streamlabel.commands.config import setting_rows
    from streamlabel.consumer.checks import Check
    from streamlabel.errors import ConfigError

    def show(done: Check) -> None:
        if not as_json:
            typer.echo(_line(done))

    rows: list[tuple[str, object, str]] = []
    try:
        loaded = load_settings(config, overrides)
    except ConfigError as error:
        checks = [Check("configuration", failure=error)]
        show(checks[0])
    else:
        rows = setting_rows(loaded, changed=not verbose)
        checks = [Check("configuration", _about(config, loaded))]
        show(checks[0])
        if not as_json:
            _show_settings(rows)
        checks += asyncio.run(_try(loaded, show))
    if as_json:
        _show_json(checks, rows)
    failures = [done.failure for done in checks if done.failure is not None]
    raise typer.Exit(failures[0].exit_code if failures else 0)


async def _try(loaded: "Loaded", show: "Callable[[Check], None]") -> "list[Check]":
    from streamlabel.commands.terminal import quiet_logs
    from streamlabel.consumer.checks import check_broker, check_model
    from streamlabel.consumer.clock import SystemClock

    settings = loaded.settings
    configure = quiet_logs(settings)
    done = []
    async for each in check_broker(settings):
        done.append(each)
        show(each)
    async for each in check_model(settings, clock=SystemClock(), configure_worker=configure):
        done.append(each)
        show(each)
    return done


def _about(config: "Path | None", loaded: "Loaded") -> str:
    changed = sum(origin.kind != "default" for origin in loaded.origins.values())
    return f"{config or 'environment and flags'}, {changed} settings given, the rest are defaults"


def _line(done: "Check") -> str:
    mark = "ok    " if done.is_ok else "failed"
    if not os.environ.get("NO_COLOR"):
        mark = typer.style(mark, fg=typer.colors.GREEN if done.is_ok else typer.colors.RED)
    what = done.detail if done.failure is None else str(done.failure)
    indented = what.replace("\n", "\n" + " " * 23)
    # echo drops the color when the output is no terminal
    return f"{mark} {done.name:<15} {indented}"


def _show_settings(rows: "Sequence[tuple[str, object, str]]") -> None:
    width = max((len(name) for name, _, _ in rows), default=0)
    for name, value, source in rows:
        typer.echo(f"{'':22} {name:<{width}}  {json.dumps(value, ensure_ascii=False)}  ({source})")


def _show_json(checks: "Sequence[Check]", rows: "Sequence[tuple[str, object, str]]") -> None:
    document = {
        "ok": all(done.is_ok for done in checks),
        "checks": [
            {
                "name": done.name,
                "ok": done.is_ok,
                "detail": done.detail,
                "failure": None if done.failure is None else str(done.failure),
                "exit_code": 0 if done.failure is None else done.failure.exit_code,
            }
            for done in checks
        ],
        "settings": {name: {"value": value, "source": source} for name, value, source in rows},
    }
    typer.echo(json.dumps(document, indent=2))
