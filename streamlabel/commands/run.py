"""``streamlabel run``: the service."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamlabel.commands.bounded import (
    INTERRUPTED,
    From,
    Group,
    SameGroup,
    SameTopics,
    Until,
    bounded_settings,
    print_summary,
    range_of,
)
from streamlabel.commands.options import ConfigFile, Overrides, load_settings

if TYPE_CHECKING:
    from streamlabel.config.settings import Settings

__all__ = ["run"]


def run(
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    start_timeout_s: Annotated[
        float | None,
        typer.Option(
            "--start-timeout",
            min=0,
            metavar="SECONDS",
            help="Give up if the brokers do not answer for this long. Default: retry forever.",
            show_default=False,
        ),
    ] = None,
    since: From = None,
    until: Until = None,
    group: Group = None,
    same_group: SameGroup = False,
    same_topics: SameTopics = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Bounded run: print the summary as JSON.")
    ] = False,
) -> None:
    """Run the service: read texts, classify them, write labels, review records and dead letters.

    SIGTERM or SIGINT drains: records in flight are finished first. A second signal exits at once.
    SIGHUP reads the configuration again and swaps models and routing without losing a record; a
    configuration that cannot work is reported, and the present one stays.

    With --from or --until it is a bounded run: it reads the records between two times, in a group
    of its own and to output topics of its own, and ends with a summary. Interrupted, it continues
    when it is started again with the same options.

    \b
    Exit codes:
      0  drained after a signal; a bounded run: complete
      2  the configuration or the model cannot work
      3  the model failed too often
      4  the brokers refused a request or were unreachable too long
      5  too many dead letters in a row: something is systematically wrong
      6  the drain deadline passed
      7  a bounded run was interrupted by a signal
      130, 143  a second SIGINT or SIGTERM
    \b
    Examples:
      streamlabel run -c streamlabel.yaml
      streamlabel run -c streamlabel.yaml --set kafka.group_id=canary --start-timeout 60
      streamlabel run -c streamlabel.yaml --from 2026-11-01T00:00Z --until now --group backfill
    """  # noqa: D301 \b keeps the lines as they are
    import asyncio
    import sys

    if since is None and until is None:
        if group is not None or same_group or same_topics or as_json:
            raise typer.BadParameter(
                "--group, --same-group, --same-topics, --json: only with --from or --until"
            )

        def reload() -> "Settings":
            return load_settings(config, overrides).settings

        settings = reload()

        from streamlabel.consumer import service

        running = service.run(
            settings,
            **_prepared(settings),
            start_timeout_s=start_timeout_s,
            # of a terminal, SIGHUP says that it was closed
            reload=None if sys.stdin.isatty() else reload,
        )
        asyncio.run(running)
        return
    time_range = range_of(since, until, same_group=same_group)
    settings = bounded_settings(
        config, overrides, group=group, same_group=same_group, same_topics=same_topics
    )

    from streamlabel.consumer.bounded_run import run_range

    summary = asyncio.run(
        run_range(settings, time_range, **_prepared(settings), start_timeout_s=start_timeout_s)
    )
    print_summary(summary, as_json=as_json)
    if not summary.is_complete:
        raise typer.Exit(INTERRUPTED)


def _prepared(settings: "Settings") -> dict[str, Any]:
    """Configure the logs of this process; return how to configure those of the worker."""
    import os
    from functools import partial

    from streamlabel import __version__
    from streamlabel.consumer.observability.logs import configure_logging

    configure = partial(configure_logging, settings.logging, environ=dict(os.environ))
    configure(static={"version": __version__})
    _collect_rarely()
    return {"configure_worker": partial(configure, static={"process": "worker"})}


def _collect_rarely() -> None:
    """Collect garbage every 20,000 objects instead of every 700.

    Records in flight are many small objects without cycles; scanning them again and again took a
    fifth of the time between Kafka and the model. Objects created by imports are never garbage.
    """
    import gc

    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
