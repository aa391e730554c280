"""A backup that is taken while the console runs is complete, and work goes on from it."""

import asyncio
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from streamlabel.config.console import ConsoleSettings
from streamlabel.console.store.audit_log import verify
from streamlabel.console.store.items import Decision
from streamlabel.console.store.opening import SqlStore, open_store
from streamlabel.consumer.core.records import TopicPartition
from testing.postgresql_server import PostgresqlServer
from tests.console_items import NOW, arrival, filled, later

HAM = Decision("correct", ("ham",))


async def decided(store: SqlStore, seconds: float) -> str:
    found = await store.next_item(reviewer="ann", tasks=None, now=later(seconds))
    assert found is not None
    return (await store.decide(found[1], HAM, now=later(seconds))).review_id


async def check_restored(store: SqlStore) -> None:
    """Check the database of the backup: what came after it is read and decided again."""
    positions = await store.positions()
    assert positions == {TopicPartition("review", 0): 3}
    await filled(store, [arrival(4)], first=3)  # what the topic still has
    assert [await decided(store, 60 + n) for n in range(3)] == ["r2", "r3", "r4"]
    assert await store.next_item(reviewer="ann", tasks=None, now=later(90)) is None
    assert len(await store.reviewed(since=NOW, until=later(99))) == 4
    assert (await verify(store.database)).problem is None


def copy_of_file(source: Path, target: Path) -> None:
    """Do what ``sqlite3 console.db ".backup backup.db"`` does."""
    with closing(sqlite3.connect(source)) as here, closing(sqlite3.connect(target)) as there:
        here.backup(there)


def copy_of_server(server: PostgresqlServer, source: str, target: str) -> None:
    """Dump a database with ``pg_dump``, and restore it."""
    dumped = subprocess.run(
        [server.programs / "pg_dump", "-d", source], check=True, capture_output=True, timeout=60
    )
    subprocess.run(
        [server.programs / "psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", target],
        check=True,
        capture_output=True,
        input=dumped.stdout,
        timeout=60,
    )


async def worked_on(place: str, copy: Callable[[], None]) -> None:
    """Let a console work on a database, and copy it while it does."""
    store = await open_store(ConsoleSettings(database=place))
    try:
        await filled(store, [arrival(1), arrival(2), arrival(3)])
        assert await decided(store, 0) == "r1"
        await asyncio.to_thread(copy)
        assert await decided(store, 20) == "r2"  # is in no backup
    finally:
        await store.close()


async def restored(place: str) -> None:
    store = await open_store(ConsoleSettings(database=place))
    try:
        await check_restored(store)
    finally:
        await store.close()


async def test_a_file_that_was_saved_while_it_was_written_is_complete(
    sqlite_template: Path, tmp_path: Path
) -> None:
    place, backup = tmp_path / "console.db", tmp_path / "backup.db"
    shutil.copyfile(sqlite_template, place)
    await worked_on(str(place), partial(copy_of_file, place, backup))
    await restored(str(backup))


async def test_a_dump_of_postgresql_is_complete(
    postgresql: PostgresqlServer, postgresql_template: str
) -> None:
    place = await asyncio.to_thread(postgresql.database, postgresql_template)
    backup = await asyncio.to_thread(postgresql.database, "template0")
    await worked_on(place, partial(copy_of_server, postgresql, place, backup))
    await restored(backup)
