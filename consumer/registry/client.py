"""Asks a schema registry, and asks again until it answers.

Nothing is decided while the registry is away: no record becomes a dead letter because of it. Each
answer is bounded in time and size. Only a registry that says that it does not have a schema is
believed; a wrong address or an error page is treated like no answer.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

import structlog

from streamlabel.config.registry import RegistrySettings
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.decode.framing import SchemaName
from streamlabel.consumer.registry.answers import (
    Failure,
    Fetched,
    Reference,
    Unknown,
    path_of,
    path_of_reference,
    read,
    read_id,
)
from streamlabel.errors import ConfigError
from streamlabel.extras import require

__all__ = ["RegistryClient"]

_log = structlog.get_logger(__name__)

_MAX_WAIT_S: Final = 30.0


T = TypeVar("T")


class _Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class RegistryClient:
    """Fetches schemas. Create it outside of event loops: it reads certificates.

    Args:
        settings: of the registry, with an address.
        is_compiled: ask for compiled schemas, which only Protobuf has.
        clock: for the waits between requests.
        what: name of the section, for messages.

    Raises:
        ConfigError: a library is missing, or a certificate cannot be read.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        *,
        is_compiled: bool,
        clock: Clock,
        what: str = "input.registry",
    ) -> None:
        require(what, "httpx", extra="formats")
        import httpx  # noqa: PLC0415 with an extra

        self._what = what
        self._httpx = httpx
        self._settings = settings
        self._is_compiled = is_compiled
        self._clock = clock
        self._url = settings.url or ""
        self._failures = 0
        self._not_before_s = 0.0
        self._has_answered = False
        self._tls = _tls(settings, what)

    async def schema(self, name: SchemaName) -> Fetched | Unknown:
        """Return a schema, as soon as the registry answers; may be cancelled and called again.

        Raises:
            ConfigError: the registry does not accept the credentials, and never did.
        """
        is_content = name.kind in {"global", "content"}
        path = path_of(name, is_compiled=self._is_compiled)
        return await self._until_answered(path, partial(_read_schema, is_content=is_content))

    async def reference(self, reference: Reference) -> Fetched | Unknown:
        """Return a schema that another one needs; otherwise as ``schema``."""
        path = path_of_reference(reference, is_compiled=self._is_compiled)
        return await self._until_answered(path, partial(_read_schema, is_content=False))

    async def schema_id(
        self, subject: str, *, schema: str, kind: str, register: bool
    ) -> int | Unknown:
        """Return the id of a schema under a subject; otherwise as ``schema``.

        Args:
            subject: for example ``labels-value``.
            schema: as the registry takes it.
            kind: AVRO, PROTOBUF or JSON.
            register: register it if it is not.
        """
        path = f"/subjects/{quote(subject, safe='')}" + ("/versions" if register else "")
        body = {"schema": schema, "schemaType": kind}
        return await self._until_answered(
            path, lambda reply: read_id(reply.status, reply.body), body
        )

    async def _until_answered(
        self, path: str, read_reply: Callable[[_Reply], T | Failure], body: object = None
    ) -> T:
        while True:
            # another request may have extended the wait meanwhile
            while (wait_s := self._not_before_s - self._clock.now_s()) > 0:
                await self._clock.sleep(wait_s)
            reply = await self._ask(path, body)
            answer = reply if isinstance(reply, Failure) else read_reply(reply)
            if not isinstance(answer, Failure):
                self._failures, self._has_answered = 0, True
                return answer
            if answer.is_refusal and not self._has_answered:
                raise ConfigError(
                    f"{self._what}: {self._url} answers with {answer.what}; set username and"
                    " password, or token"
                )
            # 2**6 exceeds the longest wait for most settings; a larger exponent would overflow
            wait_s = self._settings.retry_backoff_s * 2.0 ** min(self._failures, 6)
            self._failures += 1
            self._not_before_s = self._clock.now_s() + min(wait_s, _MAX_WAIT_S)
            _log.warning(
                "registry_failed", url=self._url, what=answer.what, failures=self._failures
            )

    async def _ask(self, path: str, body: object) -> _Reply | Failure:
        limit_bytes = self._settings.max_schema_bytes
        method = "GET" if body is None else "POST"
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                # Schemas are fetched rarely, so no connection is kept.
                async with (
                    self._httpx.AsyncClient(
                        verify=self._tls, timeout=None, trust_env=False, headers=self._headers()
                    ) as client,
                    client.stream(method, self._url + path, json=body) as response,
                ):
                    received = bytearray()
                    # as sent: the library would decompress without a limit
                    async for part in response.aiter_raw():
                        received += part
                        if len(received) > limit_bytes:
                            return Failure(f"an answer of more than {limit_bytes} bytes")
        except TimeoutError:
            return Failure("no answer in time")
        except (self._httpx.HTTPError, self._httpx.InvalidURL, OSError) as error:
            return Failure(f"no answer ({type(error).__name__})")
        given = {name.lower(): value for name, value in response.headers.items()}
        if given.get("content-encoding", "identity") != "identity":
            return Failure("a compressed answer, which was not asked for")
        return _Reply(response.status_code, given, bytes(received))

    def _headers(self) -> dict[str, str]:
        headers = {
            "accept": "application/vnd.schemaregistry.v1+json, application/json, */*;q=0.1",
            "accept-encoding": "identity",
        }
        settings = self._settings
        if settings.token is not None:
            headers["authorization"] = f"Bearer {settings.token.get_secret_value()}"
        elif settings.username is not None and settings.password is not None:
            basic = self._httpx.BasicAuth(settings.username, settings.password.get_secret_value())
            request = next(basic.auth_flow(self._httpx.Request("GET", self._url)))
            headers["authorization"] = request.headers["authorization"]
        return headers


def _read_schema(reply: _Reply, *, is_content: bool) -> Fetched | Unknown | Failure:
    return read(reply.status, reply.headers, reply.body, is_content=is_content)


def _tls(settings: RegistrySettings, what: str) -> Any:  # noqa: ANN401 a context, or whether to check
    if not (settings.url or "").startswith("https://"):
        return False
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.cert_file is not None and settings.key_file is not None:
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{what}: a certificate cannot be read ({type(error).__name__}); check"
            " ca_file, cert_file and key_file"
        ) from error
    return context
