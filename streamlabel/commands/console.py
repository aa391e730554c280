"""``streamlabel console``: the review console."""

from typing import TYPE_CHECKING, Any

import typer

from streamlabel.commands.options import ConfigFile, Overrides, load_settings

if TYPE_CHECKING:
    from streamlabel.config.settings import Settings
    from streamlabel.console.serving import App
    from streamlabel.console.store.opening import SqlStore

__all__ = ["console", "console_settings"]


def console(
    ctx: typer.Context,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Run the review console: people decide about the records in review.

    Reads output.review_topic into console.database, serves the pages on console.host and
    console.port, and writes verdicts to output.verdicts_topic. Several consoles may share a
    database. SIGTERM or SIGINT ends it; a kill loses nothing.

    \b
    Exit codes:
      0  ended by a signal
      2  the configuration cannot work
      4  the database cannot be used
    \b
    Examples:
      streamlabel console -c streamlabel.yaml
      streamlabel console -c streamlabel.yaml --set console.port=9000
      streamlabel console add-user ann --role lead -c streamlabel.yaml
    """  # noqa: D301 \b keeps the lines as they are
    if ctx.invoked_subcommand is not None:
        if config is not None or overrides:
            raise typer.BadParameter("write -c and --set after the name of the subcommand")
        return
    import asyncio

    settings = console_settings(config, overrides)
    _configure_logs(settings)
    asyncio.run(_run(settings))


def console_settings(config: Any, overrides: Any) -> "Settings":  # noqa: ANN401 of the options
    """Return the settings, after a check that the libraries of the console are there.

    Raises:
        ConfigError: the settings are invalid, or a library is missing.
    """
    from streamlabel.extras import require

    settings = load_settings(config, overrides).settings
    is_server = "://" in settings.console.database_place
    require("streamlabel console", extra="postgresql" if is_server else "console")
    return settings


def _configure_logs(settings: "Settings") -> None:
    import os

    from streamlabel import __version__
    from streamlabel.consumer.observability.logs import configure_logging

    configure_logging(settings.logging, environ=dict(os.environ), static={"version": __version__})


async def _run(settings: "Settings") -> None:
    import uuid

    from streamlabel.console.serving import serve
    from streamlabel.console.store.opening import open_store
    from streamlabel.models.core.system_clock import SystemClock

    store = await open_store(settings.console)
    try:
        app = _pages(settings, store)
        await serve(settings, store, app, holder=uuid.uuid4().hex, clock=SystemClock())
    finally:
        await store.close()


def _pages(settings: "Settings", store: "SqlStore") -> "App":
    from importlib import import_module

    from streamlabel.models.core.system_clock import SystemClock

    app: App = import_module("streamlabel.console.web.opening").create_app(
        settings, store, clock=SystemClock()
    )
    return app
