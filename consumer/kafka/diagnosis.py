"""Finds out why a broker cannot be used: aiokafka logs the cause, but raises another error.

Runs only after a failure. Each address is tried with the steps of a client: name resolution,
connection, TLS, login, first response. The message names the step that fails, and what to set if
the settings do not match the listener (``listener``).
"""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator, collect_hosts
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.kafka.aiokafka_internals.connections import token_provider_of
from streamlabel.consumer.kafka.connection import connection_options
from streamlabel.consumer.kafka.listener import Listener
from streamlabel.consumer.kafka.tls import causes_of, tls_cause
from streamlabel.consumer.kafka.tokens import NoTokenError

__all__ = ["Cause", "diagnose"]

_STEP_TIMEOUT_S: Final = 4.0
_TIMEOUT_S: Final = 12.0
_MOST_ADDRESSES: Final = 8


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an address cannot be used.

    Attributes:
        sentence: address and cause, with what to change if that is known.
        is_final: retrying does not help until an operator changes something.
        is_place: no broker was found at the address.
    """

    sentence: str
    is_final: bool
    is_place: bool = False


async def diagnose(kafka: KafkaSettings) -> Cause | None:
    """Return why the brokers cannot be used; None if they can by now, or the cause is unknown.

    Raises:
        ConfigError: a TLS file cannot be used.
    """
    options = await connection_options(kafka)
    bootstrap = [(host, port) for host, port, _ in collect_hosts(kafka.bootstrap_servers)]
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            found = await _all_of(bootstrap, options)
            causes = [each for each in found if isinstance(each, Cause)]
            if len(causes) == len(found):
                return _worst([_given(each) for each in causes])
            advertised = {place for each in found if not isinstance(each, Cause) for place in each}
            others = await _all_of(sorted(advertised - set(bootstrap)), options)
            causes = [each for each in others if isinstance(each, Cause)]
            return _worst([_advertised(each) for each in causes]) if causes else None
    except TimeoutError:
        return None


def _worst(causes: list[Cause]) -> Cause:
    final = [cause for cause in causes if cause.is_final]
    return Cause("; ".join(dict.fromkeys(c.sentence for c in final or causes)), bool(final))


def _given(cause: Cause) -> Cause:
    """Add advice for an address in the settings."""
    hint = "; check kafka.bootstrap_servers" if cause.is_place else ""
    return Cause(cause.sentence + hint, cause.is_final)


def _advertised(cause: Cause) -> Cause:
    """Add advice for an address that a broker advertises: it is often one of another network."""
    hint = "a broker advertises this address (advertised.listeners)"
    return Cause(f"{cause.sentence}; {hint}", cause.is_final)


async def _all_of(
    places: list[tuple[str, int]], options: Mapping[str, Any]
) -> list[Cause | set[tuple[str, int]]]:
    tries = (_Attempt(host, port, options).run() for host, port in places[:_MOST_ADDRESSES])
    return await asyncio.gather(*tries)


class _Attempt:
    def __init__(self, host: str, port: int, options: Mapping[str, Any]) -> None:
        self._host = host
        self._port = port
        self._options = options
        self._name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._listener = Listener(host, port, options, timeout_s=_STEP_TIMEOUT_S)

    async def run(self) -> Cause | set[tuple[str, int]]:
        """Return the cause of a failure, or the addresses that the broker advertises."""
        try:
            async with asyncio.timeout(_STEP_TIMEOUT_S):
                if cause := await self._unreachable():
                    return cause
        except TimeoutError:
            return self._absent("does not accept the connection in time: is a firewall between?")
        connection = self._connection()
        try:
            async with asyncio.timeout(_STEP_TIMEOUT_S):
                await connection.connect()
                metadata = await connection.send(MetadataRequest([]))
                return {(host, port) for _, host, port, *_ in metadata.brokers}
        # a peer with another protocol may cause any error: ValueError, struct.error, ...
        except Exception as error:  # noqa: BLE001 see above
            return await self._refused(error)
        finally:
            connection.close()

    def _connection(self) -> AIOKafkaConnection:
        options = {k: v for k, v in self._options.items() if k not in _OF_CLIENTS}
        options["request_timeout_ms"] = int(_STEP_TIMEOUT_S * 1000)
        return _Connection(self._host, self._port, **options)

    async def _unreachable(self) -> Cause | None:
        loop = asyncio.get_running_loop()
        try:
            addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            return self._absent(f"cannot be resolved ({error.strerror or error})")
        failed: OSError | None = None
        for family, kind, protocol, _, address in addresses:
            with socket.socket(family, kind, protocol) as plug:
                plug.setblocking(False)
                try:
                    await loop.sock_connect(plug, address)
                except OSError as error:
                    failed = error if failed is None else failed
                else:
                    return None
        if isinstance(failed, ConnectionRefusedError):
            return self._absent("refuses the connection: no server listens on this port (yet)")
        return self._absent(f"cannot be reached ({failed.strerror if failed else 'no address'})")

    async def _refused(self, error: Exception) -> Cause:
        """Return which step failed after connecting, and whether the settings match."""
        for each in causes_of(error):
            if isinstance(each, NoTokenError):
                return Cause(str(each.args[0]), is_final=each.is_final)
        if sentence := tls_cause(error):
            return self._cause(sentence, is_final=True)
        if sentence := await self._listener.misfit(error):
            return self._cause(sentence, is_final=True)
        if isinstance(error, TimeoutError):
            return self._cause("accepts the connection, but does not answer in time")
        if isinstance(error, KafkaError):
            return self._cause("closes the connection; is it a Kafka listener?")
        return self._cause(f"does not use Kafka's protocol ({type(error).__name__})")

    def _absent(self, sentence: str) -> Cause:
        return Cause(f"{self._name} {sentence}", is_final=False, is_place=True)

    def _cause(self, sentence: str, *, is_final: bool = False) -> Cause:
        return Cause(f"{self._name} {sentence}", is_final)


# Options that consumer, producer and admin client share, but a connection does not accept.
_OF_CLIENTS: Final = frozenset({"bootstrap_servers", "metadata_max_age_ms", "retry_backoff_ms"})


class _Connection(AIOKafkaConnection):  # type: ignore[misc]  # aiokafka has no types
    """A connection that detects a refused token.

    A broker answers a bad token with a challenge; the client has to answer it to receive the
    refusal. aiokafka 0.14.0 treats the challenge as success, and later requests fail without a
    reason.
    """

    def authenticator_oauth(self) -> "_Authenticator":
        """Return the authenticator for the exchange of a token."""
        return _Authenticator(sasl_oauth_token_provider=token_provider_of(self))


class _Authenticator(OAuthAuthenticator):  # type: ignore[misc]  # aiokafka has no types
    async def step(self, payload: bytes | None) -> Any:  # noqa: ANN401 aiokafka has no types
        done = await super().step(payload)
        if done is None and payload:
            return b"\x01", True
        return done
