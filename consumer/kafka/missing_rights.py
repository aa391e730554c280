"""Finds out which rights are missing, without changing anything on the cluster.

Brokers check the rights first, and only then whether the resources of a request exist. So each
right is tested with a request that has no effect: for partitions, members and producers that do not
exist. Any broker can answer it, and no coordinator is looked up, because the first such look-up
creates the topic of offsets or of transactions.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, NodeNotReadyError
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.api import Request
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import AddOffsetsToTxnRequest

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.kafka.clients import ask_client, ends_well
from streamlabel.consumer.kafka.connection import connection_options
from streamlabel.consumer.kafka.error_codes import is_denied
from streamlabel.consumer.kafka.reaching import reaching
from streamlabel.consumer.kafka.rights import Right
from streamlabel.consumer.kafka.rights_protocol import (
    DescribeAclsRequest,
    DescribeTransactionsRequest,
)

__all__ = ["Rights", "missing_rights"]

_TIMEOUT_S: Final = 30.0
_CLOSE_TIMEOUT_S: Final = 5.0
_NO_PARTITION: Final = 2**31 - 1
_NOBODY: Final = -1
_SECURITY_DISABLED: Final = 54
_NO_TRANSACTION: Final = 53  # TRANSACTIONAL_ID_AUTHORIZATION_FAILED
_WAIT_MS: Final = 1_000


class Rights(NamedTuple):
    """The result of the check.

    Attributes:
        missing: the missing ones of the rights that were checked, in their order.
        is_open: the cluster has no authorizer; None: not known without the right to ask.
    """

    missing: tuple[Right, ...]
    is_open: bool | None


async def missing_rights(kafka: KafkaSettings, needed: Sequence[Right]) -> Rights:
    """Return which rights this user lacks; changes nothing on the cluster.

    ``Create`` is not checked here: see ``topics.refused_topics``.

    Raises:
        BrokerError: the cluster cannot be reached.
    """
    client = AIOKafkaClient(**await connection_options(kafka))

    async def ask() -> Rights:
        await client.bootstrap()
        missing = [each for each in needed if await _is_missing(client, kafka, each)]
        return Rights(tuple(missing), await _is_open(client))

    async def close() -> None:
        await ends_well(client.close(), timeout_s=_CLOSE_TIMEOUT_S)

    async with reaching(kafka, "checking the rights of this user"):
        async with asyncio.timeout(_TIMEOUT_S):
            return await ask_client(ask(), stop=close)


async def _is_missing(client: AIOKafkaClient, kafka: KafkaSettings, right: Right) -> bool:
    try:
        return any(is_denied(code) for code in await _codes(client, kafka, right))
    except (NotImplementedError, IncompatibleBrokerVersion):  # it cannot be checked
        return False


async def _codes(client: AIOKafkaClient, kafka: KafkaSettings, right: Right) -> Iterable[int]:
    """Return the error codes of a request that needs the right and has no effect."""
    name = right.name
    match right.kind, right.operation:
        case "topic", "Read" | "Write":
            fetching = FetchRequest(0, 0, 1, 0, [(name, [(_NO_PARTITION, 0, 1)])])
            writing = ProduceRequest(None, 1, _WAIT_MS, [(name, [(_NO_PARTITION, b"")])])
            answer = await _send(client, fetching if right.operation == "Read" else writing)
            return [part[1] for _, parts in answer.topics for part in parts]
        case "topic", _:
            answer = await _send(client, MetadataRequest([name], allow_auto_topic_creation=False))
            return [topic[0] for topic in answer.topics]
        case "group", "Read":
            return [(await _send(client, HeartbeatRequest(name, _NOBODY, "nobody"))).error_code]
        case "group", _:
            answer = await _send(client, DescribeGroupsRequest([name]))
            return [group[0] for group in answer.groups]
        case _, "Write":
            request = AddOffsetsToTxnRequest(name, _NOBODY, _NOBODY, kafka.group_id)
            code = (await _send(client, request)).error_code
            # the group's right is checked separately
            return [code] if code == _NO_TRANSACTION else []
    answer = await _send(client, DescribeTransactionsRequest(name))
    return [each[0] for each in answer.transactions]


async def _is_open(client: AIOKafkaClient) -> bool | None:
    try:
        answer = await _send(client, DescribeAclsRequest())
    except (NotImplementedError, IncompatibleBrokerVersion):
        return None
    if answer.error_code == _SECURITY_DISABLED:
        return True
    return None if is_denied(answer.error_code) else False


async def _send(client: AIOKafkaClient, request: Request[Any]) -> Any:  # noqa: ANN401 aiokafka's
    node = client.get_random_node()
    if node is None:
        raise NodeNotReadyError("no broker is known")
    return await client.send(node, request)
