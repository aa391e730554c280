"""Connections, transactions, and what the errors of a database mean."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, event, exc, text
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from streamlabel.console.store.database_faults import unavailable
from streamlabel.errors import ConfigError, StoreUnavailableError

__all__ = ["ADVISORY_LOCK", "Database", "connected", "url_of"]

# A transaction of the console takes milliseconds; the time covers many that wait for each other.
_WAIT_S: Final = 5
_POOL: Final = 10
_SQLITE_OPTIONS: Final = {"timeout": _WAIT_S}
_POSTGRESQL_OPTIONS: Final = {
    "connect_timeout": _WAIT_S,
    "options": f"-c lock_timeout={_WAIT_S}s -c statement_timeout={4 * _WAIT_S}s",
}
# Of PostgreSQL; ends with the transaction.
ADVISORY_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_WALK: Final = text("SET LOCAL enable_sort = off")


def url_of(database: str, password: str | None) -> URL:
    """Return how to connect.

    Args:
        database: a file for SQLite, or ``postgresql://user@host:port/name``.
        password: of PostgreSQL.

    Raises:
        ConfigError: it is another kind of database.
    """
    if "://" not in database:
        # as a URI, so that SQLAlchemy does not look for the working directory in the event loop
        return URL.create(
            "sqlite+aiosqlite", database=f"file:{quote(database)}", query={"uri": "true"}
        )
    try:
        url = make_url(database)
    except (exc.ArgumentError, ValueError) as error:
        raise ConfigError("console.database: is not a valid URL") from error
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        raise ConfigError(
            "console.database: write the name of a file for SQLite, or"
            " postgresql://user@host:port/name"
        )
    url = url.set(drivername="postgresql+psycopg")
    return url if password is None else url.set(password=password)


class Database:
    """A database with a pool of connections.

    Args:
        engine: of SQLAlchemy.
        file: of SQLite.
    """

    def __init__(self, engine: AsyncEngine, file: Path | None) -> None:
        self._engine = engine
        self._file = file
        self._inode: int | None = None

    async def in_thread(self, change: Callable[[Connection], None]) -> None:
        """Run a change that reads files, too, in a transaction of its own, in a thread.

        Raises:
            StoreUnavailableError: the database cannot be written.
        """
        async with self._mapped():
            await asyncio.to_thread(self._change, change)

    def _change(self, change: Callable[[Connection], None]) -> None:
        url = self._engine.url
        if self.is_sqlite:
            engine = create_engine(url.set(drivername="sqlite"), connect_args=_SQLITE_OPTIONS)
            _prepare(engine)
        else:
            engine = create_engine(url, connect_args=_POSTGRESQL_OPTIONS)
        try:
            with (
                engine.connect().execution_options(streamlabel_writes=True) as connection,
                connection.begin(),
            ):
                change(connection)
        finally:
            engine.dispose()

    @property
    def is_sqlite(self) -> bool:
        """Whether it is SQLite; else PostgreSQL."""
        return self._file is not None

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction for reading. Raises StoreUnavailableError."""
        async with self._mapped(), self._engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that is committed at the end. Raises StoreUnavailableError.

        SQLite has one writer at a time, so it gets the lock at the beginning: a transaction that
        first reads could not get it later.
        """
        async with self._mapped():
            await self._refuse_another_file()
            async with self._engine.connect() as connection:
                await connection.execution_options(streamlabel_writes=True)
                async with connection.begin():
                    yield connection

    async def _refuse_another_file(self) -> None:
        """An open file that was deleted or replaced accepts writes, which nobody would read."""
        if self._file is None:
            return
        inode = await asyncio.to_thread(_inode, self._file)
        if self._inode is None:
            self._inode = inode
        elif inode != self._inode:
            raise StoreUnavailableError(
                "gone", f"{self._file} was deleted or replaced: start the console again"
            )

    async def lock(self, connection: AsyncConnection, name: str) -> None:
        """Wait until no other transaction has the lock of this name; it ends with this one."""
        if not self.is_sqlite:
            await connection.execute(ADVISORY_LOCK, {"name": name})

    async def walk(self, connection: AsyncConnection) -> None:
        """Let the rest of the transaction read along indexes, without sorting what it could walk.

        For the first few rows in an index's order. PostgreSQL guesses how many rows there are for a
        key until its statistics follow a wave of arrivals, minutes later; by a guess that is too
        low it reads all of them, tens of thousands, and sorts. SQLite has no such plan.
        """
        if not self.is_sqlite:
            await connection.execute(_WALK)

    async def check(self) -> None:
        """Return if it can be opened, before anything else.

        A connection of aiosqlite 0.22 that fails leaves a thread behind, which prints a traceback
        if the program ends because of it.

        Raises:
            StoreUnavailableError: it cannot be opened.
        """
        if self._file is not None:
            try:
                await asyncio.to_thread(_open_once, self._file)
            except sqlite3.Error as error:
                raise unavailable(error, is_sqlite=True) from error

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    @asynccontextmanager
    async def _mapped(self) -> AsyncIterator[None]:
        try:
            yield
        except exc.TimeoutError as error:
            raise StoreUnavailableError("busy", "all connections are in use: try again") from error
        except exc.DBAPIError as error:
            if isinstance(error, (exc.IntegrityError, exc.ProgrammingError, exc.DataError)):
                raise
            raise unavailable(error.orig, is_sqlite=self.is_sqlite) from error


def _inode(file: Path) -> int | None:
    try:
        return file.stat().st_ino
    except FileNotFoundError:
        return None


def _open_once(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master")


def connected(database: str, password: str | None) -> Database:
    """Return the database of the settings; connects when it is first used.

    Raises:
        ConfigError: it is of another kind.
    """
    url = url_of(database, password)
    if url.get_backend_name() == "sqlite":
        engine = create_async_engine(
            url, pool_size=_POOL, max_overflow=0, connect_args=_SQLITE_OPTIONS
        )
        _prepare(engine.sync_engine)
        return Database(engine, Path(database))
    engine = create_async_engine(
        url,
        pool_size=_POOL,
        max_overflow=0,
        pool_pre_ping=True,  # a server that was restarted
        connect_args=_POSTGRESQL_OPTIONS,
    )
    return Database(engine, None)


def _prepare(engine: Engine) -> None:
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 of a driver
    connection.isolation_level = None  # transactions begin in _begin_sqlite
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")  # readers do not wait for the writer
    cursor.execute("PRAGMA synchronous=FULL")  # what was acknowledged survives a loss of power
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("streamlabel_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
