"""``streamlabel run``: the service."""

from typing import TYPE_CHECKING, Annotated

import typer

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
) -> None:
    """Run the service: read texts, classify them, write labels, review records and dead letters.

    SIGTERM or SIGINT drains: records in flight are finished first. A second signal exits at once.
    SIGHUP reads the configuration again and swaps models and routing without losing a record; a
    configuration that cannot work is reported, and the present one stays.

    \b
    Exit codes:
      0  drained after a signal
      2  the configuration or the model cannot work
      3  the model failed too often
      4  the brokers refused a request or were unreachable too long
      5  too many dead letters in a row: something is systematically wrong
      6  the drain deadline passed
      130, 143  a second SIGINT or SIGTERM
    \b
    Examples:
      streamlabel run -c streamlabel.yaml
      streamlabel run -c streamlabel.yaml --set kafka.group_id=canary --start-timeout 60
    """  # noqa: D301 \b keeps the lines as they are
    import asyncio
    import os
    import sys
    from functools import partial

    def reload() -> "Settings":
        return load_settings(config, overrides).settings

    settings = reload()

    from streamlabel import __version__
    from streamlabel.consumer import service
    from streamlabel.consumer.observability.logs import configure_logging

    configure = partial(configure_logging, settings.logging, environ=dict(os.environ))
    configure(static={"version": __version__})
    _collect_rarely()
    asyncio.run(
        service.run(
            settings,
            start_timeout_s=start_timeout_s,
            configure_worker=partial(configure, static={"process": "worker"}),
            # of a terminal, SIGHUP says that it was closed
            reload=None if sys.stdin.isatty() else reload,
        )
    )


def _collect_rarely() -> None:
    """Collect garbage every 20,000 objects instead of every 700.

    Records in flight are many small objects without cycles; scanning them again and again took a
    fifth of the time between Kafka and the model. Objects created by imports are never garbage.
    """
    import gc

    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
