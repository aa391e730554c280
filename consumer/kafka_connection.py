"""How to reach the brokers: addresses, TLS and SASL as aiokafka wants them."""

import asyncio
from pathlib import Path
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError
from aiokafka.helpers import create_ssl_context

from streamlabel.config.kafka import KafkaSettings, SecuritySettings
from streamlabel.errors import ConfigError

__all__ = ["TokenFile", "connection_options"]


class TokenFile(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """The token in a file, read again when the file changes; never blocks the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._token = ""

    async def token(self) -> str:
        """Return the current token, the last one while the file cannot be read.

        Raises KafkaConnectionError, because aiokafka's own tasks call this and retry only theirs.
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
                raise KafkaConnectionError(
                    f"kafka.security.token_file cannot be read: {error.strerror}"
                ) from error
        if not self._token:
            raise KafkaConnectionError("kafka.security.token_file is empty")
        return self._token


async def connection_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the keyword arguments that consumer, producer and admin client share.

    Raises:
        ConfigError: a TLS file cannot be read or does not hold what it should.
    """
    security = kafka.security
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers,
        "client_id": kafka.client_id,
        "request_timeout_ms": kafka.request_timeout_ms,
        "security_protocol": security.protocol,
    }
    if security.protocol in {"SSL", "SASL_SSL"}:
        options["ssl_context"] = await _ssl_context(security)
    if security.sasl_mechanism is not None:
        options["sasl_mechanism"] = security.sasl_mechanism
    if security.sasl_mechanism == "OAUTHBEARER" and security.token_file is not None:
        options["sasl_oauth_token_provider"] = TokenFile(security.token_file)
    elif security.password is not None:
        options["sasl_plain_username"] = security.username
        options["sasl_plain_password"] = security.password.get_secret_value()
    return options


async def _ssl_context(security: SecuritySettings) -> Any:  # noqa: ANN401 an ssl.SSLContext
    password = security.key_password
    try:
        return await asyncio.to_thread(  # reads files
            create_ssl_context,
            cafile=security.ca_file,
            certfile=security.cert_file,
            keyfile=security.key_file,
            password=None if password is None else password.get_secret_value(),
        )
    except OSError as error:  # ssl.SSLError is one, too
        raise ConfigError(
            "kafka.security: ca_file, cert_file or key_file cannot be used"
            f" ({error.strerror or error}); give PEM files that this user can read"
        ) from error
