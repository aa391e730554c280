"""How to connect to the brokers: addresses, TLS and SASL as aiokafka's arguments."""

import asyncio
from pathlib import Path
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

from streamlabel.config.catalog import paths_in
from streamlabel.config.kafka import KafkaSettings
from streamlabel.config.places import refuse_missing
from streamlabel.consumer.kafka.tls import tls_context

__all__ = ["TokenFile", "TokenFileError", "connection_options"]


class TokenFileError(KafkaConnectionError):  # type: ignore[misc]  # aiokafka has no types
    """There is no token (yet). A subclass of the connection error, which aiokafka's tasks retry."""


class TokenFile(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """The token in a file, read again when the file changes; never blocks the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._token = ""

    async def token(self) -> str:
        """Return the current token, or the last one while the file cannot be read.

        Raises:
            TokenFileError: no token was read yet.
        """
        return await asyncio.to_thread(self._read)

    def _read(self) -> str:
        try:
            status = self._path.stat()
            version = (status.st_ino, status.st_mtime_ns, status.st_size)
            if version != self._seen:
                self._token = self._path.read_text(encoding="utf-8").strip() or self._token
                self._seen = version
        except OSError as error:
            if not self._token:
                raise TokenFileError(
                    f"kafka.security.token_file: {self._path} cannot be read ({error.strerror})"
                ) from error
        if not self._token:
            raise TokenFileError("kafka.security.token_file is empty")
        return self._token


async def connection_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the keyword arguments that consumer, producer and admin client share.

    Raises:
        ConfigError: a TLS file cannot be read or has the wrong content.
    """
    security = kafka.security
    await asyncio.to_thread(refuse_missing, paths_in(security, ("kafka", "security")))
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers,
        "client_id": kafka.client_id,
        "request_timeout_ms": kafka.request_timeout_ms,
        "metadata_max_age_ms": kafka.metadata_max_age_ms,
        "security_protocol": security.protocol,
    }
    if security.protocol in {"SSL", "SASL_SSL"}:
        options["ssl_context"] = await asyncio.to_thread(tls_context, security)  # reads files
    if security.sasl_mechanism is not None:
        options["sasl_mechanism"] = security.sasl_mechanism
    if security.sasl_mechanism == "OAUTHBEARER" and security.token_file is not None:
        options["sasl_oauth_token_provider"] = TokenFile(security.token_file)
    elif security.password is not None:
        options["sasl_plain_username"] = security.username
        options["sasl_plain_password"] = security.password.get_secret_value()
    return options
