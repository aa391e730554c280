"""``streamlabel console`` and its subcommands, on a database of SQLite."""

import asyncio
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from streamlabel.__main__ import app
from streamlabel.config.console import ConsoleSettings
from streamlabel.console.store.items import Search, User
from streamlabel.console.store.opening import SqlStore, open_store
from tests.console_items import arrival, filled


@pytest.fixture
def database(sqlite_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(sqlite_template, tmp_path / "console.db"))


def run(database: Path, *arguments: str, typed: str = "", auth: str = "local") -> Result:
    """Run a subcommand."""
    name, *others = arguments
    settings = ("model.backend=encoder", "model.path=m", f"console.database={database}")
    options = [part for each in (*settings, f"console.auth={auth}") for part in ("--set", each)]
    return CliRunner().invoke(app, ["console", name, *options, *others], input=typed)


def users(database: Path) -> list[User]:
    async def find() -> list[User]:
        store = await opened(database)
        try:
            return list(await store.users())
        finally:
            await store.close()

    return asyncio.run(find())


async def opened(database: Path) -> SqlStore:
    return await open_store(ConsoleSettings(database=str(database)))


def test_an_account_is_added_with_its_role_tasks_and_a_hash(database: Path) -> None:
    done = run(
        database,
        "add-user",
        "ann",
        "--role",
        "lead",
        "--task",
        "tone",
        typed="four words, plainly\n",
    )
    assert (done.exit_code, done.output.strip()) == (0, "ann is a lead now")
    [user] = users(database)
    assert (user.name, user.role, user.tasks) == ("ann", "lead", ("tone",))
    assert (user.password_hash or "").startswith("$argon2id$")
    again = run(database, "add-user", "ann", typed="four words, plainly\n")
    assert again.exit_code == 2
    assert "there is an account ann already" in again.stderr


@pytest.mark.parametrize("password", ["", "short", "ann-ann-ann-ann"])
def test_a_weak_password_is_refused(database: Path, password: str) -> None:
    done = run(database, "add-user", "ann", typed=password + "\n")
    assert done.exit_code == 2
    assert re.search("a password has 12 to|the password contains", done.stderr)
    assert users(database) == []


def test_without_local_accounts_no_password_is_asked_for(database: Path) -> None:
    done = run(database, "add-user", "ann", auth="none")
    assert done.exit_code == 0
    assert users(database) == [User(name="ann")]


def test_the_log_is_verified_and_changes_are_found(database: Path) -> None:
    run(database, "add-user", "ann", typed="four words, plainly\n")
    done = run(database, "verify-log")
    assert done.exit_code == 0
    assert done.output.startswith("1 entries intact, last hash ")
    last = done.output.split()[-1]
    assert run(database, "verify-log", "--expect", last).exit_code == 0
    missing = run(database, "verify-log", "--expect", "0" * 64)
    assert missing.exit_code == 1
    assert "the expected hash is not in the log" in missing.stderr

    async def change() -> None:
        store = await opened(database)
        async with store.database.writing() as connection:
            await connection.exec_driver_sql("UPDATE event SET actor = 'eve'")
        await store.close()

    asyncio.run(change())
    changed = run(database, "verify-log")
    assert changed.exit_code == 1
    assert "entry 1 was changed" in changed.stderr


def test_the_texts_of_one_record_and_old_texts_are_erased(database: Path) -> None:
    async def fill() -> None:
        store = await opened(database)
        await filled(store, [arrival(1), arrival(2)])
        await store.close()

    asyncio.run(fill())
    assert run(database, "purge", "--id", "r1").output.strip() == "1 texts erased"
    # what remains arrived now or in the future of this machine's clock: nothing is old
    assert run(database, "purge", "--id", "none").output.strip() == "0 texts erased"

    async def texts() -> list[str | None]:
        store = await opened(database)
        found = await store.search(Search(), limit=9)
        await store.close()
        return [each.text for each in found]

    assert asyncio.run(texts()) == ["text number 2", None]


def test_it_refuses_to_listen_beyond_this_machine_without_authentication(database: Path) -> None:
    done = run(database, "verify-log", "--set", "console.host=0.0.0.0", auth="none")
    assert done.exit_code == 2
    assert "auth: none is for this machine only" in done.stderr


def test_a_database_that_cannot_be_opened_ends_with_its_exit_code(tmp_path: Path) -> None:
    done = run(tmp_path / "missing" / "console.db", "verify-log")
    assert done.exit_code == 4
    assert "look for its file and folder" in done.stderr


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_hands_its_duties_over(database: Path, number: signal.Signals) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "model.backend": "encoder",
        "model.path": "m",
        "console.database": database,
        "console.port": port,
        "console.auth": "none",
        "kafka.bootstrap_servers": "127.0.0.1:9",
    }
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    with subprocess.Popen(
        [sys.executable, "-m", "streamlabel", "console", *options], stderr=subprocess.PIPE
    ) as process:
        until_s = time.monotonic() + 90
        while not duties(database):
            assert process.poll() is None
            assert time.monotonic() < until_s
            time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    assert duties(database) == []


def duties(database: Path) -> list[str]:
    """Return which duties a console has."""
    with closing(sqlite3.connect(database)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM duty")]
