"""The tables of the console are made, changed and removed on both databases."""

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect
from sqlalchemy.engine.interfaces import ReflectedIndex

from streamlabel.config.console import ConsoleSettings
from streamlabel.console.store.database import Database, connected
from streamlabel.console.store.migrating import BASE, HEAD, LATEST, migrate, version_of
from streamlabel.console.store.opening import open_store
from streamlabel.console.store.tables import METADATA
from streamlabel.errors import ConfigError

VERSIONS = [f"{number:04}" for number in range(1, int(LATEST) + 1)]


async def names(database: Database) -> set[str]:
    async with database.reading() as connection:
        return await connection.run_sync(lambda raw: set(inspect(raw).get_table_names()))


def _differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), METADATA))


async def test_migrations_lead_to_the_tables_that_the_code_uses_and_back(
    bare_database: str,
) -> None:
    database = connected(bare_database, None)
    try:
        assert await version_of(database) is None
        await migrate(database)
        assert await version_of(database) == LATEST
        async with database.reading() as connection:
            assert await connection.run_sync(_differences) == []
        assert await names(database) >= set(METADATA.tables)
        await migrate(database, to=BASE)
        assert await names(database) == {"alembic_version"} | (
            {"sqlite_sequence"} & await names(database)
        )
        await migrate(database, to=HEAD)
        assert await names(database) >= set(METADATA.tables)
    finally:
        await database.close()


def _index(index: ReflectedIndex) -> str:
    where = [str(v) for k, v in index.get("dialect_options", {}).items() if k.endswith("where")]
    columns = index.get("expressions", index["column_names"])
    return f"{index['name']}: {columns} {index['unique']} {where}"


def _schema(connection: Connection) -> dict[str, object]:
    found = inspect(connection)
    return {
        name: (
            sorted((each["name"], str(each["type"])) for each in found.get_columns(name)),
            sorted(_index(each) for each in found.get_indexes(name)),
        )
        for name in found.get_table_names()
    }


async def test_each_migration_is_undone_by_its_way_back(bare_database: str) -> None:
    database = connected(bare_database, None)
    try:
        schemas = []
        for version in VERSIONS:
            await migrate(database, to=version)
            async with database.reading() as connection:
                schemas.append(await connection.run_sync(_schema))
        assert len({str(each) for each in schemas}) == len(VERSIONS)
        for version, expected in reversed(list(zip(VERSIONS, schemas, strict=True))):
            await migrate(database, to=version)
            async with database.reading() as connection:
                assert await connection.run_sync(_schema) == expected
    finally:
        await database.close()


async def test_several_consoles_that_start_at_once_make_the_tables_once(
    bare_database: str,
) -> None:
    settings = ConsoleSettings(database=bare_database)
    stores = await asyncio.gather(*(open_store(settings) for _ in range(3)))
    try:
        assert len({each.instance for each in stores}) == 1
    finally:
        for each in stores:
            await each.close()


async def test_a_database_of_a_newer_version_is_refused(bare_database: str) -> None:
    database = connected(bare_database, None)
    try:
        await migrate(database)
        async with database.writing() as connection:
            await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(ConfigError, match="9999 is of a newer streamlabel"):
            await migrate(database)
    finally:
        await database.close()
