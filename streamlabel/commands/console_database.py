"""``streamlabel console`` with ``purge``, ``verify-log`` or ``add-user``."""

from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from streamlabel.commands.console import console_settings
from streamlabel.commands.options import ConfigFile, Overrides

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from streamlabel.config.settings import Settings
    from streamlabel.console.store.opening import SqlStore

__all__ = ["add_user", "purge", "verify_log", "with_store"]

_ADMIN = "command line"

T = TypeVar("T")


def purge(
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    record: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="ID",
            help="Erase the texts of this record now, instead of those that are old.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Erase texts: those that console.retention keeps no longer, or those of one record.

    Text, metadata, key and notes are erased; labels, verdicts and the audit log stay. A running
    console erases old texts every hour by itself.

    \b
    Examples:
      streamlabel console purge -c streamlabel.yaml
      streamlabel console purge -c streamlabel.yaml --id texts-0-17
    """  # noqa: D301 \b keeps the lines as they are
    settings = console_settings(config, overrides)

    async def erase(store: "SqlStore") -> int:
        from streamlabel.console.serving import purge as purge_old
        from streamlabel.console.topics.loops import now_of
        from streamlabel.models.core.system_clock import SystemClock

        now = now_of(SystemClock())
        if record is None:
            return await purge_old(settings, store, now=now)
        return (await store.erase_record(record, by=_ADMIN, now=now)).items

    typer.echo(f"{with_store(settings, erase)} texts erased")


def verify_log(
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    expect: Annotated[
        str | None,
        typer.Option(
            "--expect",
            metavar="HASH",
            help="The last hash of an earlier check, which has to be in the log.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Check the audit log: every entry, and that none is missing or was changed.

    Write the printed hash down elsewhere and give it as --expect next time: then removed last
    entries are found, too. Exit code 1 says that something is wrong.

    \b
    Example:
      streamlabel console verify-log -c streamlabel.yaml
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.console.store.audit_log import verify

    settings = console_settings(config, overrides)
    found = with_store(settings, lambda store: verify(store.database, expected=expect))
    typer.echo(f"{found.entries} entries intact, last hash {found.last_hash}")
    if found.problem is not None:
        typer.echo(f"streamlabel: {found.problem}", err=True)
    if not found.holds_expected:
        typer.echo("streamlabel: the expected hash is not in the log", err=True)
    if found.problem is not None or not found.holds_expected:
        raise typer.Exit(1)


def add_user(
    name: Annotated[str, typer.Argument(help="Account, for example ann.")],
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    role: Annotated[
        Literal["reviewer", "lead", "admin"], typer.Option("--role", help="What they may do.")
    ] = "reviewer",
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            metavar="NAME",
            help="Task whose records they get. May be repeated. Default: all.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Add an account; the password is asked for, or read from standard input.

    With console.auth oidc or proxy no password is needed: the account gives the role.

    \b
    Examples:
      streamlabel console add-user ann -c streamlabel.yaml
      streamlabel console add-user bo --role lead --task tone -c streamlabel.yaml < password.txt
    """  # noqa: D301 \b keeps the lines as they are
    settings = console_settings(config, overrides)
    hashed = _hashed(_password(name), name) if settings.console.auth == "local" else None

    async def add(store: "SqlStore") -> None:
        from streamlabel.console.store.items import User
        from streamlabel.console.topics.loops import now_of
        from streamlabel.models.core.system_clock import SystemClock

        tasks = tuple(task) if task else None
        user = User(name=name, role=role, password_hash=hashed, tasks=tasks)
        await store.add_user(user, by=_ADMIN, now=now_of(SystemClock()))

    with_store(settings, add)
    typer.echo(f"{name} is a {role} now")


def _password(name: str) -> str:
    import getpass
    import sys

    from streamlabel.errors import ConfigError

    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass(f"password of {name}: ")
    if getpass.getpass("again: ") != first:
        raise ConfigError("the two passwords differ; nothing was changed")
    return first


def _hashed(password: str, name: str) -> str:
    import asyncio

    from streamlabel.console.access.passwords import Passwords, check_new
    from streamlabel.errors import ConfigError, SignInError

    try:
        check_new(password, name=name)
    except SignInError as error:
        raise ConfigError(str(error)) from error
    return asyncio.run(Passwords().hashed(password))


def with_store(settings: "Settings", do: "Callable[[SqlStore], Awaitable[T]]") -> T:
    """Open the store of the settings, and do something with it."""
    import asyncio

    from streamlabel.commands.terminal import quiet_logs
    from streamlabel.console.store.opening import open_store

    quiet_logs(settings)

    async def opened() -> T:
        store = await open_store(settings.console)
        try:
            return await do(store)
        finally:
            await store.close()

    return asyncio.run(opened())
