"""``streamlabel run``: the service."""

from collections.abc import Callable
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
from streamlabel.models.worker.early_process import EarlyProcess

if TYPE_CHECKING:
    from streamlabel.config.settings import Settings
    from streamlabel.consumer.bounded_run import Summary
    from streamlabel.consumer.delivery.time_range import TimeRange

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
    _collect_rarely()
    # first: a worker imports as long as this process reads its settings
    with EarlyProcess() as early:
        if since is not None or until is not None:
            time_range = range_of(since, until, same_group=same_group)
            settings = bounded_settings(
                config, overrides, group=group, same_group=same_group, same_topics=same_topics
            )
            summary = _run_range(settings, time_range, early, start_timeout_s)
            print_summary(summary, as_json=as_json)
            if not summary.is_complete:
                raise typer.Exit(INTERRUPTED)
            return
        if group is not None or same_group or same_topics or as_json:
            raise typer.BadParameter(
                "--group, --same-group, --same-topics, --json: only with --from or --until"
            )
        _run_service(lambda: load_settings(config, overrides).settings, early, start_timeout_s)


def _run_service(
    reload: Callable[[], "Settings"], early: EarlyProcess, start_timeout_s: float | None
) -> None:
    import asyncio
    import sys

    settings = reload()
    prepared = _prepared(settings, early)

    from streamlabel.consumer import service

    running = service.run(
        settings,
        **prepared,
        start_timeout_s=start_timeout_s,
        # of a terminal, SIGHUP says that it was closed
        reload=None if sys.stdin.isatty() else reload,
    )
    _collect_rarely()  # and nothing that the imports created
    asyncio.run(running)


def _run_range(
    settings: "Settings",
    time_range: "TimeRange",
    early: EarlyProcess,
    start_timeout_s: float | None,
) -> "Summary":
    import asyncio

    prepared = _prepared(settings, early)

    from streamlabel.consumer.bounded_run import run_range

    running = run_range(settings, time_range, **prepared, start_timeout_s=start_timeout_s)
    _collect_rarely()  # and nothing that the imports created
    return asyncio.run(running)


def _prepared(settings: "Settings", early: EarlyProcess) -> dict[str, Any]:
    """Configure the logs of this process, and let the worker import what its model needs.

    Returns:
        The arguments of the service that concern its workers.
    """
    import os
    from functools import partial

    from streamlabel import __version__
    from streamlabel.config.deployments import all_deployments
    from streamlabel.consumer.observability.logs import configure_logging

    configure = partial(configure_logging, settings.logging, environ=dict(os.environ))
    configure(static={"version": __version__})
    worker = partial(configure, static={"process": "worker"})
    first = all_deployments(settings)[0]
    early.import_for(first.settings.model.backend, worker)
    return {"configure_worker": worker, "early": early}


def _collect_rarely() -> None:
    """Collect garbage every 20,000 objects instead of every 700, and never what exists now.

    Records in flight are many small objects without cycles; scanning them again and again took a
    fifth of the time between Kafka and the model. Objects created by imports are never garbage.
    """
    import gc

    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
