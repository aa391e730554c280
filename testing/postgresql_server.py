"""A real PostgreSQL for tests and benchmarks, in a temporary folder."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgresqlMissingError", "PostgresqlServer"]

_PLACES: Final = ("/usr/lib/postgresql", "/usr/local/pgsql", "/opt/homebrew/opt/postgresql")
_START_TIMEOUT_S: Final = 60.0
# It refuses to run as root; these accounts are on most systems.
_ACCOUNTS: Final = ("postgres", "nobody")


class PostgresqlMissingError(Exception):
    """No PostgreSQL can be had here; the message says what is missing."""


def _folder() -> Path:
    """Return the folder with its programs."""
    paths = [path for place in _PLACES for path in sorted(Path(place).glob("**/bin"), reverse=True)]
    if found := shutil.which("initdb"):
        paths.insert(0, Path(found).resolve().parent)
    for path in paths:
        if all((path / name).exists() for name in ("postgres", "initdb", "pg_isready")):
            return path
    raise PostgresqlMissingError("needs PostgreSQL: install it (Debian: apt install postgresql)")


def _account() -> str | None:
    """Return who is to run it; None: the present user."""
    if os.geteuid() != 0:
        return None
    import pwd

    names = {each.pw_name for each in pwd.getpwall()}
    found = next((name for name in _ACCOUNTS if name in names), None)
    if found is None:
        raise PostgresqlMissingError(f"PostgreSQL needs an account of {', '.join(_ACCOUNTS)}")
    return found


@dataclass(slots=True)
class PostgresqlServer:
    """A running server, which the test may kill and start again."""

    programs: Path
    folder: Path
    port: int
    account: str | None
    process: "subprocess.Popen[bytes] | None" = None
    _made: list[str] = field(default_factory=list)

    @classmethod
    def start(cls) -> Self:
        """Start one. Raises PostgresqlMissingError."""
        programs, account = _folder(), _account()
        folder = Path(tempfile.mkdtemp(prefix="streamlabel-postgresql-"))
        if account is not None:
            shutil.chown(folder, account)
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        server = cls(programs, folder, port, account)
        try:
            server.prepare()
            server.run()
        except BaseException:
            server.close()
            raise
        return server

    def prepare(self) -> None:
        """Make its folder of data."""
        programs, folder, account = self.programs, self.folder, self.account
        subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-U", "streamlabel", "-A", "trust", "-N"],
            check=True,
            capture_output=True,
            cwd=folder,
            user=account,
        )

    def run(self) -> None:
        """Start the process (again) and wait until it answers."""
        settings: dict[str, Any] = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 100,
            "shared_buffers": "32MB",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        log = (self.folder / "log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.folder / "data", *options],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                user=self.account,
            )
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                said = (self.folder / "log").read_text(errors="replace")[-2000:]
                raise PostgresqlMissingError(f"PostgreSQL did not start: {said}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        asked = subprocess.run(
            [self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)],
            check=False,
        )
        return asked.returncode == 0

    def database(self, template: str = "template1") -> str:
        """Create a database like ``template``; return its address, as the settings take it."""
        name = f"console_{uuid.uuid4().hex[:12]}"
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        self._made.append(name)
        return f"postgresql://streamlabel@127.0.0.1:{self.port}/{name}"

    def connection(self, database: str = "postgres") -> "psycopg.Connection[tuple[Any, ...]]":
        """Return a connection of which every statement is a transaction."""
        import psycopg

        address = f"host=127.0.0.1 port={self.port} user=streamlabel dbname={database}"
        return psycopg.connect(address, autocommit=True)

    def sql(self, statement: str, *, database: str = "postgres") -> None:
        """Execute a statement."""
        with self.connection(database) as connection:
            connection.execute(statement)

    def kill(self) -> None:
        """Kill it, as a loss of power does."""
        self._stop(signal.SIGQUIT)

    def _stop(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(_START_TIMEOUT_S)
            self.process = None

    def close(self) -> None:
        """Stop it and remove its folder."""
        self._stop(signal.SIGQUIT)  # at once: its data is removed
        shutil.rmtree(self.folder, ignore_errors=True)
