"""Detects how a listener differs from our settings: TLS or not, which SASL mechanisms."""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import SaslHandShakeRequest

__all__ = ["Listener"]


class Listener:
    """One address, tried with other security protocols after ours has failed.

    Args:
        options: of our clients.
        timeout_s: of each attempt.
    """

    def __init__(
        self, host: str, port: int, options: Mapping[str, Any], *, timeout_s: float
    ) -> None:
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._options = options
        self._protocol = str(options["security_protocol"])
        self._mechanism = options.get("sasl_mechanism")
        self._context: ssl.SSLContext | None = options.get("ssl_context")

    @property
    def _has_tls(self) -> bool:
        return self._protocol.endswith("SSL")

    @property
    def _has_login(self) -> bool:
        return self._protocol.startswith("SASL")

    async def misfit(self, error: Exception) -> str | None:
        """Return what to change, to follow "HOST:PORT "; None if the settings seem to match."""
        match error:
            case SaslAuthenticationFailed() | AuthenticationFailedError():
                return self._refused_login()
            case IllegalSaslStateError():
                return f"does not use SASL; set kafka.security.protocol to {self._without_login}"
            case UnsupportedSaslMechanismError():
                return self._other_mechanism(await self._mechanisms(tls=self._has_tls) or ())
        return await self._other_protocol()

    async def _other_protocol(self) -> str | None:
        if self._has_tls:
            return await self._without_tls()
        if await self._speaks_tls():
            wanted = "SASL_SSL" if self._has_login else "SSL or SASL_SSL"
            return f"requires TLS; set kafka.security.protocol to {wanted}"
        if not self._has_login:
            return await self._wants_login(tls=False)
        return None

    def _refused_login(self) -> str:
        who = self._options.get("sasl_plain_username")
        what = f"user {who}" if who else "the token (token_file, token_endpoint)"
        return (
            f"refuses the login of {what} ({self._mechanism}); check kafka.security: user, password"
            " or token"
        )

    @property
    def _without_login(self) -> str:
        return self._protocol.removeprefix("SASL_")

    def _other_mechanism(self, offered: Sequence[str]) -> str:
        known = f"offers {', '.join(offered)}, not" if offered else "does not offer"
        return f"{known} {self._mechanism}; set kafka.security.sasl_mechanism to one that it offers"

    async def _without_tls(self) -> str | None:
        offered = await self._mechanisms(tls=False)
        if offered is None:
            return None if self._has_login else await self._wants_login(tls=True)
        wanted = "SASL_PLAINTEXT" if offered else "PLAINTEXT"
        return f"does not use TLS; set kafka.security.protocol to {wanted}"

    async def _wants_login(self, *, tls: bool) -> str | None:
        offered = await self._mechanisms(tls=tls)
        if not offered:
            return None
        wanted = "SASL_SSL" if tls else "SASL_PLAINTEXT"
        return (
            f"requires SASL ({', '.join(offered)}); set kafka.security.protocol to {wanted}, and"
            " sasl_mechanism"
        )

    async def _mechanisms(self, *, tls: bool) -> Sequence[str] | None:
        """Return the SASL mechanisms that are offered; None if the listener does not answer."""
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await create_conn(
                    self._host,
                    self._port,
                    request_timeout_ms=int(self._timeout_s * 1000),
                    security_protocol="SSL" if tls else "PLAINTEXT",
                    ssl_context=self._context if tls else None,
                )
                try:
                    answer = await connection.send(SaslHandShakeRequest(self._mechanism or "PLAIN"))
                finally:
                    connection.close()
        # a peer with another protocol may cause any error
        except Exception:  # noqa: BLE001 see above
            return None
        return list(answer.enabled_mechanisms or ())

    async def _speaks_tls(self) -> bool:
        context = ssl.create_default_context()
        context.check_hostname = False
        # Nothing is sent; the identity of the peer does not matter.
        context.verify_mode = ssl.CERT_NONE
        try:
            async with asyncio.timeout(self._timeout_s):
                _, writer = await asyncio.open_connection(self._host, self._port, ssl=context)
        except ssl.SSLError as error:
            return "ALERT" in (error.reason or "")
        except (OSError, TimeoutError):
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True
