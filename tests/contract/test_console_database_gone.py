"""A database that is read-only, full or gone: said so, and nothing is acknowledged."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamlabel.config.console import ConsoleSettings
from streamlabel.console.store.items import Decision, Lease
from streamlabel.console.store.opening import SqlStore, open_store
from streamlabel.errors import ConfigError, StoreUnavailableError
from testing.postgresql_server import PostgresqlServer
from tests.console_items import NOW, arrival, filled, later

HAM = Decision("correct", ("ham",))


@pytest.fixture
async def on_sqlite(sqlite_template: Path, tmp_path: Path) -> AsyncIterator[SqlStore]:
    shutil.copyfile(sqlite_template, tmp_path / "console.db")
    store = await open_store(ConsoleSettings(database=str(tmp_path / "console.db")))
    yield store
    await store.close()


async def leased(store: SqlStore) -> Lease:
    await filled(store, [arrival(1), arrival(2)])
    found = await store.next_item(reviewer="ann", tasks=None, now=NOW)
    assert found is not None
    return found[1]


async def refused(store: SqlStore, lease: Lease, reason: str) -> None:
    """Check that nothing can be decided, and that nothing was."""
    for call in (
        store.health(),
        store.decide(lease, HAM, now=NOW),
        filled(store, [arrival(3)], first=2),
        store.next_item(reviewer="bob", tasks=None, now=NOW),
    ):
        with pytest.raises(StoreUnavailableError) as raised:
            await call
        assert raised.value.reason == reason, str(raised.value)


async def decided_later(store: SqlStore, lease: Lease) -> None:
    """Check that work goes on where it was."""
    await store.health()
    verdict = await store.decide(lease, HAM, now=later(1))
    assert verdict.review_id == "r1"
    assert len(await store.reviewed(since=NOW, until=later(9))) == 1


async def test_a_file_that_was_deleted_or_replaced_is_noticed(
    on_sqlite: SqlStore, tmp_path: Path
) -> None:
    lease = await leased(on_sqlite)
    file = tmp_path / "console.db"
    file.rename(tmp_path / "elsewhere.db")
    await refused(on_sqlite, lease, "gone")
    (tmp_path / "console.db").write_bytes(b"")
    await refused(on_sqlite, lease, "gone")
    file.unlink()
    (tmp_path / "elsewhere.db").rename(file)
    await decided_later(on_sqlite, lease)


async def test_a_full_disk_is_said(on_sqlite: SqlStore) -> None:
    lease = await leased(on_sqlite)
    async with on_sqlite.database.reading() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
    limit = "PRAGMA max_page_count"
    async with on_sqlite.database.writing() as connection:
        await connection.exec_driver_sql(f"{limit} = {pages}")
        large = [arrival(9, text="x" * 1_000_000)]
    with pytest.raises(StoreUnavailableError) as raised:
        await filled(on_sqlite, large, first=2)
    assert raised.value.reason == "full"
    assert "make room" in str(raised.value)
    assert await on_sqlite.positions() == {("review", 0): 2}
    async with on_sqlite.database.writing() as connection:
        await connection.exec_driver_sql(f"{limit} = 1000000")
    await decided_later(on_sqlite, lease)


async def test_a_read_only_file_is_said(on_sqlite: SqlStore) -> None:
    lease = await leased(on_sqlite)

    async def query_only(value: str) -> None:
        # as root, tests can write files that are read-only: the driver refuses likewise
        async with on_sqlite.database.reading() as connection:
            await connection.exec_driver_sql(f"PRAGMA query_only = {value}")

    await query_only("on")
    await refused(on_sqlite, lease, "read_only")
    await query_only("off")
    await decided_later(on_sqlite, lease)


async def test_a_file_that_is_no_database_is_refused_at_start(tmp_path: Path) -> None:
    (tmp_path / "console.db").write_text("not a database, but long enough to look like one" * 99)
    with pytest.raises(StoreUnavailableError, match="restore a backup"):
        await open_store(ConsoleSettings(database=str(tmp_path / "console.db")))
    with pytest.raises(StoreUnavailableError, match="look for its file and folder"):
        await open_store(ConsoleSettings(database=str(tmp_path / "missing" / "console.db")))


async def test_a_server_that_is_read_only_or_gone_is_said(own_postgresql: PostgresqlServer) -> None:
    address = own_postgresql.database()
    store = await open_store(ConsoleSettings(database=address))
    try:
        lease = await leased(store)
        name = address.rpartition("/")[2]
        own_postgresql.sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        await store.close()  # sessions take the setting over when they begin
        await refused(store, lease, "read_only")
        own_postgresql.sql(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        await store.close()
        own_postgresql.kill()
        await refused(store, lease, "gone")
        own_postgresql.run()
        await decided_later(store, lease)
    finally:
        await store.close()


async def test_another_kind_of_database_is_refused() -> None:
    for address in ("mysql://host/name", "postgresql://host:notaport/name"):
        with pytest.raises(ConfigError, match=r"console\.database"):
            await open_store(ConsoleSettings(database=address))
