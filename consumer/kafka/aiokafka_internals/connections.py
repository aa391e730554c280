"""Private parts of aiokafka's client: its connections, and the responses that they wait for."""

from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import AIOKafkaConnection

__all__ = [
    "abort_connections",
    "connection_to",
    "connections_of",
    "oldest_request",
    "token_provider_of",
    "use_password",
]


def connections_of(client: AIOKafkaClient) -> list[AIOKafkaConnection]:
    """Return the connections of a client, including those that were just closed.

    Works around: no public way to ask whether brokers answer. Seen in aiokafka 0.14.0.
    """
    return list(client._conns.values())


def connection_to(
    client: AIOKafkaClient, node: int, group: ConnectionGroup
) -> AIOKafkaConnection | None:
    """Return the connection to a broker, None if there is none; opens none.

    Works around: as ``connections_of``. Seen in aiokafka 0.14.0.
    """
    return client._conns.get((node, group))


def oldest_request(connection: AIOKafkaConnection) -> tuple[object, object] | None:
    """Return the oldest request without a response on a connection; None if there is none.

    Works around: an open connection does not prove that the broker works, because one that hangs
    closes none, and aiokafka does not report how long a response is overdue. Seen in aiokafka
    0.14.0.

    Returns:
        Its number on this connection, and the request: both None during a login.
    """
    if not connection._requests:
        return None
    number, request, _ = connection._requests[0]
    return number, request


def abort_connections(client: AIOKafkaClient) -> None:
    """Abort all connections at once; buffered data is not sent.

    Works around: ``close`` of a client flushes the buffers of its connections, which may contain
    outputs that the new producer has written meanwhile. Seen in aiokafka 0.14.0.
    """
    for connection in client._conns.values():
        if connection._writer is not None:
            connection._writer.transport.abort()


def token_provider_of(connection: AIOKafkaConnection) -> AbstractTokenProvider:
    """Return the provider of a connection's tokens.

    Works around: an authenticator of our own, which detects a refused token, can only be created
    where aiokafka creates its own. Seen in aiokafka 0.14.0.
    """
    provider: Any = connection._sasl_oauth_token_provider
    return provider


def use_password(client: AIOKafkaClient, password: str) -> None:
    """Let a client log in with another password from its next connection on.

    Works around: aiokafka asks a provider for a token at each login, but keeps the password that it
    was created with. Seen in aiokafka 0.14.0.
    """
    client._sasl_plain_password = password
