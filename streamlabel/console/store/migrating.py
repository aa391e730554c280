"""Brings the tables of a database to the present version, or back, with alembic."""

from functools import partial
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from streamlabel.console.store.database import ADVISORY_LOCK, Database
from streamlabel.errors import ConfigError

__all__ = ["BASE", "HEAD", "LATEST", "migrate", "version_of"]

# Of the last module in ``migrations.versions``.
LATEST: Final = "0004"
HEAD: Final = "head"
BASE: Final = "base"
_FOLDER: Final = Path(__file__).parent / "migrations"
# Where the tables have their version, by alembic.
_VERSIONS: Final = "alembic_version"


async def migrate(database: Database, *, to: str = HEAD) -> None:
    """Change the tables in one transaction; several consoles may start at once.

    Args:
        database: whose tables.
        to: a version, ``HEAD``, or ``BASE`` for no tables.

    Raises:
        ConfigError: the database is of a newer version of streamlabel.
        StoreUnavailableError: it cannot be written.
    """
    if to == HEAD and await version_of(database) == LATEST:
        return
    await database.in_thread(partial(_migrate, to))


def _migrate(to: str, connection: Connection) -> None:
    if connection.dialect.name != "sqlite":
        connection.execute(ADVISORY_LOCK, {"name": "migration"})
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_FOLDER))
    config.set_main_option("path_separator", "os")
    present = _version(connection)
    known = [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()]
    if present is not None and present not in known:
        raise ConfigError(
            f"console.database: its version {present} is of a newer streamlabel: install that one"
        )
    if to == BASE or (to != HEAD and present is not None and to < present):
        command.downgrade(config, to)
    else:
        command.upgrade(config, to)


async def version_of(database: Database) -> str | None:
    """Return the version of the tables; None: there are none."""
    async with database.reading() as connection:
        return await connection.run_sync(_version)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_VERSIONS):
        return None
    query = text(f"SELECT version_num FROM {_VERSIONS}")  # noqa: S608 a constant
    found: str | None = connection.execute(query).scalar_one_or_none()
    return found
