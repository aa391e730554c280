"""Fixtures of the console's databases: SQLite, and a real PostgreSQL or what is missing."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from streamlabel.console.store.database import connected
from streamlabel.console.store.migrating import migrate
from testing.postgresql_server import PostgresqlMissingError, PostgresqlServer
from tests.requirements import missing


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """One server for all tests that do not stop it; each gets a database of its own."""
    yield from _started()


@pytest.fixture
def own_postgresql() -> Iterator[PostgresqlServer]:
    """A separate server, which the test may kill and start again."""
    yield from _started()


def _started() -> Iterator[PostgresqlServer]:
    try:
        server = PostgresqlServer.start()
    except PostgresqlMissingError as error:
        missing(str(error))
    try:
        yield server
    finally:
        server.close()


async def _migrated(address: str) -> None:
    database = connected(address, None)
    try:
        await migrate(database)
    finally:
        await database.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with empty tables, to be copied: migrations take a while."""
    path = tmp_path_factory.mktemp("console") / "template.db"
    asyncio.run(_migrated(str(path)))
    return path


@pytest.fixture(scope="session")
def postgresql_template(postgresql: PostgresqlServer) -> str:
    """The name of a database with empty tables, likewise."""
    address = postgresql.database()
    asyncio.run(_migrated(address))
    return address.rpartition("/")[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Return a function that makes a database with empty tables, and returns its address."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        numbers = iter(range(100))

        def copied() -> str:
            path = tmp_path / f"console-{next(numbers)}.db"
            shutil.copyfile(template, path)
            return str(path)

        return copied
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    name: str = request.getfixturevalue("postgresql_template")
    return partial(server.database, template=name)


@pytest.fixture(params=["sqlite", "postgresql"])
def bare_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of a database without tables."""
    if request.param == "sqlite":
        return str(tmp_path / "bare.db")
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return server.database()
