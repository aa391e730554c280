"""Passwords for PLAIN and SCRAM: from the settings, or from a file that somebody renews.

A client sends the password at each login. When the file changes, the clients that exist get the new
password for their next login: open connections are not affected, as Kafka does not affect them.
"""

import asyncio
from pathlib import Path
from typing import Final, Never
from weakref import WeakKeyDictionary

import structlog
from aiokafka.client import AIOKafkaClient

from streamlabel.config.security import SecuritySettings
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.kafka.aiokafka_internals.connections import use_password
from streamlabel.errors import ConfigError

__all__ = ["current_password", "keep_password", "renew_passwords", "watch_passwords"]

_log = structlog.get_logger(__name__)

# A login that is refused in between is repeated, and nothing is lost meanwhile.
_LOOK_S: Final = 5.0
# Longer files are no passwords.
_MOST_BYTES: Final = 4096

_KNOWN: Final[WeakKeyDictionary[AIOKafkaClient, tuple[Path, str]]] = WeakKeyDictionary()


def current_password(security: SecuritySettings) -> str | None:
    """Return the password; None if the mechanism has none. Blocks.

    Raises:
        ConfigError: the file cannot be used.
    """
    if security.password_file is not None:
        return _read(security.password_file)
    return None if security.password is None else security.password.get_secret_value()


def keep_password(client: AIOKafkaClient, security: SecuritySettings, password: str | None) -> None:
    """Renew the password of a client from now on, if it comes from a file.

    Args:
        client: of aiokafka.
        security: its settings.
        password: with which it was created.
    """
    if security.password_file is not None and password is not None:
        _KNOWN[client] = (security.password_file, password)


async def renew_passwords() -> int:
    """Give clients the passwords that have changed in their files; return how many clients.

    While a file cannot be read, the password before is used.
    """
    found: dict[Path, str] = {}
    for path in {path for path, _ in _KNOWN.values()}:
        try:
            found[path] = await asyncio.to_thread(_read, path)
        except ConfigError as error:
            _log.warning("password_not_renewed", why=str(error))
    renewed = 0
    for client, (path, password) in list(_KNOWN.items()):
        new = found.get(path, password)
        if new != password:
            use_password(client, new)
            _KNOWN[client] = (path, new)
            renewed += 1
    return renewed


async def watch_passwords(clock: Clock) -> Never:
    """Renew passwords whose files change, until cancelled."""
    while True:
        await clock.sleep(_LOOK_S)
        if renewed := await renew_passwords():
            _log.info("password_renewed", clients=renewed)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        password = content.decode().rstrip("\r\n")
    except OSError as error:
        raise _unusable(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError:
        raise _unusable(f"{path} is not UTF-8") from None  # the error has the content
    if not password:
        raise _unusable(f"{path} is empty")
    if len(content) > _MOST_BYTES:
        raise _unusable(f"{path} has over {_MOST_BYTES} bytes, which is no password")
    return password


def _unusable(why: str) -> ConfigError:
    return ConfigError(f"kafka.security.password_file: {why}; write the password into it")
