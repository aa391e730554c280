"""Whether the brokers behind an aiokafka client answer, read from its connections.

An open connection does not prove that the broker works: one that hangs, or a network failure, does
not close it. So a connection whose response is long overdue counts as lost. aiokafka 0.14 has no
public way to find out.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, Final
from weakref import WeakKeyDictionary

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.client import ConnectionGroup

from streamlabel.consumer.kafka.aiokafka_internals.batch_queues import queues_of
from streamlabel.consumer.kafka.aiokafka_internals.connections import (
    connection_to,
    connections_of,
    oldest_request,
)
from streamlabel.consumer.kafka.aiokafka_internals.group import client_of, coordinator_id

__all__ = ["Links"]

# A fetch is answered within half a second, a write when all replicas have it; if the client exceeds
# its quota, the broker may delay the response by some seconds.
_RESPONSE_TIMEOUT_S: Final = 15.0
# Answered when the whole group has joined.
_SLOW_REQUESTS: Final = ("JoinGroup", "SyncGroup")
_CONNECT_S: Final = 2.0
# In a cluster with many brokers, the number to try before concluding that none answers.
_NODES_TRIED: Final = 3


class Links:
    """Checks connections, and remembers since when each waits for a response; reuse the object."""

    def __init__(self, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._owed: WeakKeyDictionary[Any, tuple[object, float]] = WeakKeyDictionary()

    async def reading(
        self, consumer: AIOKafkaConsumer, partitions: Iterable[KafkaPartition]
    ) -> bool:
        """Return whether the leaders of ``partitions`` answer; any broker, if there are none."""
        client = client_of(consumer)
        leaders = {client.cluster.leader_for_partition(partition) for partition in partitions}
        return await self._all_answer(client, leaders)

    def coordinating(self, consumer: AIOKafkaConsumer) -> bool:
        """Return whether the coordinator of the group is known and answers."""
        client = client_of(consumer)
        coordinator = coordinator_id(consumer)
        if coordinator is None:
            return False
        return self._is_answering(connection_to(client, coordinator, ConnectionGroup.COORDINATION))

    async def writing(self, producer: AIOKafkaProducer) -> bool:
        """Return whether the leaders of queued batches answer; without batches, any broker."""
        client = producer.client
        waiting = queues_of(producer)
        leaders = {
            client.cluster.leader_for_partition(partition)
            for partition, batches in list(waiting.items())
            if batches
        }
        return await self._all_answer(client, leaders)

    async def _all_answer(self, client: Any, nodes: set[int | None]) -> bool:  # noqa: ANN401 no types
        if not nodes:
            return await self._any_answers(client)
        return all(await asyncio.gather(*(self._answers(client, node) for node in nodes)))

    async def _any_answers(self, client: Any) -> bool:  # noqa: ANN401 no types
        # Open connections first: all but one are closed when they are idle.
        if any(self._is_answering(connection) for connection in connections_of(client)):
            return True
        nodes = [broker.nodeId for broker in client.cluster.brokers()][:_NODES_TRIED]
        for node in nodes:
            if await self._answers(client, node):
                return True
        return False

    async def _answers(self, client: Any, node: int | None) -> bool:  # noqa: ANN401 no types
        """Return whether a broker answers; connects if there is no connection."""
        if node is None or node == -1:  # no leader
            client.force_metadata_update()
            return False
        connection = connection_to(client, node, ConnectionGroup.DEFAULT)
        if connection is not None and connection.connected():
            return self._is_answering(connection)
        try:
            async with asyncio.timeout(_CONNECT_S):
                return bool(await client.ready(node))
        except TimeoutError:
            return False

    def _is_answering(self, connection: Any) -> bool:  # noqa: ANN401 no types
        if connection is None or not connection.connected():
            return False
        oldest = oldest_request(connection)
        if oldest is None:
            self._owed.pop(connection, None)
            return True
        correlation_id, request = oldest
        if type(request).__name__.startswith(_SLOW_REQUESTS):
            return True
        now_s = self._now_s()
        owed, since_s = self._owed.get(connection, (None, now_s))
        if owed != correlation_id:
            owed, since_s = correlation_id, now_s
        self._owed[connection] = (owed, since_s)
        return now_s - since_s < _RESPONSE_TIMEOUT_S
