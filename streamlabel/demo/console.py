"""The console on the demo's own review items: decide some, and see verdicts arrive as events."""

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

from streamlabel.config.console import ConsoleSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.observability.terminal_format import printable
from streamlabel.consumer.output.verdict import read_verdict
from streamlabel.demo.broker import EmbeddedBroker
from streamlabel.demo.stream import read_verdicts
from streamlabel.extras import require
from streamlabel.models.core.system_clock import SystemClock

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from streamlabel.console.store.opening import SqlStore

__all__ = ["run_console", "running_store"]

_CLOCK: Final = SystemClock()
# Shorter than a team would set it, so that verdicts arrive while one looks.
_UNDO_S: Final = 3.0


def run_console(
    screen: Console, settings: Settings, *, broker: EmbeddedBroker, folder: Path
) -> None:
    """Open the console on loopback until Ctrl-C, and print each verdict as it is written.

    Args:
        screen: to print on.
        settings: of the demo's service.
        broker: of the demo.
        folder: for the database, which begins empty.
    """
    require("the console of the demo", extra="console")
    for path in folder.glob("console.db*"):  # of an earlier demo, whose broker is gone
        path.unlink()
    partitions = broker.create_topic(settings.output.verdicts_topic)
    database = folder / "console.db"
    with suppress(KeyboardInterrupt):  # how it is meant to end
        asyncio.run(_run(screen, settings, database=database, partitions=partitions))


async def _run(screen: Console, settings: Settings, *, database: Path, partitions: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        chosen = settings.model_copy(
            update={
                "console": ConsoleSettings(
                    database=str(database),
                    port=listening.getsockname()[1],
                    undo_s=_UNDO_S,
                    second_look_share=0,
                    gold_share=0,
                )
            }
        )
        async with _opened(chosen, screen) as app:
            await _serve(app, listening, screen, chosen, partitions=partitions)


@asynccontextmanager
async def _opened(settings: Settings, screen: Console) -> AsyncIterator["Starlette"]:
    from streamlabel.console.web.opening import create_app  # noqa: PLC0415 the console extra

    async with running_store(settings) as store:
        yield create_app(
            settings, store, clock=_CLOCK, say=lambda line: screen.print(Text(line, "bold"))
        )


@asynccontextmanager
async def running_store(settings: Settings) -> AsyncIterator["SqlStore"]:
    """Yield the console's database while reviews are read into it and verdicts are sent."""
    from streamlabel.console.store.opening import open_store  # noqa: PLC0415 the console extra
    from streamlabel.console.topics.reading import ReviewReader  # noqa: PLC0415 the console extra
    from streamlabel.console.topics.sending import VerdictSender  # noqa: PLC0415 the console extra

    store = await open_store(settings.console)
    holder = uuid.uuid4().hex
    reader = ReviewReader(settings, store, holder=holder, clock=_CLOCK)
    sender = VerdictSender(settings, store, instance=store.instance, holder=holder, clock=_CLOCK)
    loops = [asyncio.create_task(each.run()) for each in (reader, sender)]
    try:
        yield store
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await store.close()


async def _serve(
    app: "Starlette",
    listening: socket.socket,
    screen: Console,
    settings: Settings,
    *,
    partitions: int,
) -> None:
    import uvicorn  # noqa: PLC0415 only here

    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    )
    screen.print(
        "Decide with the number keys. Each verdict is printed here when it is on the topic"
        f" {settings.output.verdicts_topic}. Ctrl-C ends the demo."
    )
    async with asyncio.TaskGroup() as group:
        printing = group.create_task(
            read_verdicts(settings, _printer(screen), partitions=partitions)
        )
        await server.serve(sockets=[listening])
        printing.cancel()


def _printer(screen: Console) -> Callable[[bytes], None]:
    """Return what prints one verdict, with its number."""
    numbers = count(1)

    def show(value: bytes) -> None:
        verdict = read_verdict(value)
        labels = ", ".join(verdict.labels or ()) or "-"
        line = f"  verdict {next(numbers):>3}  {verdict.action:<8}  {labels:<12} {verdict.id}"
        screen.print(Text(printable(line)))

    return show
