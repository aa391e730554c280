"""The ids of our transactional producers: starting one fences earlier ones of the same id.

Two producers that must fence each other need the same id, and all others different ones. An id is
parsed from its end: partition, topic and kind contain no slash, so the rest before them is the
group, and different producers have different ids. It begins with the group, because access is
granted by prefix (ACLs with ``patternType=prefixed``).
"""

import asyncio
from typing import Final

from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError, TransactionalIdAuthorizationFailed, for_code
from aiokafka.protocol.transaction import InitProducerIdRequest

from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.kafka.errors import is_retriable

__all__ = ["end_earlier", "input_id", "replay_id", "unslashed_input_id", "unslashed_replay_id"]

# Not the group: replays of one dead-letter topic exclude each other, whatever group they have.
_REPLAYS: Final = "streamlabel"
_RETRY_S: Final = 0.05


def input_id(group: str, partition: TopicPartition) -> str:
    """Return the name of the producer that delivers for an input partition in a group."""
    return f"{group}/input/{partition.topic}/{partition.partition}"


def replay_id(dead_letters: TopicPartition) -> str:
    """Return the name of the producer that replays a partition of a dead-letter topic."""
    return f"{_REPLAYS}/replay/{dead_letters.topic}/{dead_letters.partition}"


def unslashed_input_id(group: str, partition: TopicPartition) -> str:
    """Return the name that earlier versions use instead of ``input_id``."""
    return f"{group}-{partition.topic}-{partition.partition}"


def unslashed_replay_id(group: str, dead_letters: TopicPartition) -> str:
    """Return the name that earlier versions use instead of ``replay_id``."""
    return f"{group}-replay-{dead_letters.topic}-{dead_letters.partition}"


async def end_earlier(client: AIOKafkaClient, name: str, *, timeout_ms: int) -> None:
    """Fence the producer of this name, if there is one, and end its open transaction.

    Without the right to use the name nothing is done: a producer with the same rights cannot have
    used it.

    Args:
        client: connected.
        name: a transactional id.
        timeout_ms: transaction timeout of such a producer; the broker refuses more than its limit.

    Raises:
        KafkaError, OSError: failed. The caller limits the time.
    """
    while True:
        try:
            node = await client.coordinator_lookup(CoordinationType.TRANSACTION, name)
            request = InitProducerIdRequest(name, timeout_ms)
            response = await client.send(node, request, group=ConnectionGroup.COORDINATION)
            if response.error_code == 0:
                return
            raise for_code(response.error_code)
        except TransactionalIdAuthorizationFailed:
            return
        except KafkaError as error:
            if not is_retriable(error):
                raise
        await asyncio.sleep(_RETRY_S)  # the coordinator moves, loads or writes markers
