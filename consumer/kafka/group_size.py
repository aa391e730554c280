"""How many members the consumer group has, for those who wait for all of them."""

import asyncio
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.kafka.clients import ask_client, ends_well
from streamlabel.consumer.kafka.connection import connection_options
from streamlabel.consumer.kafka.reaching import reaching

__all__ = ["members_of"]

_TIMEOUT_S: Final = 15.0
_CLOSE_TIMEOUT_S: Final = 5.0


async def members_of(kafka: KafkaSettings) -> int:
    """Return the number of members of ``kafka.group_id``; 0 if the group is empty or unknown.

    Raises:
        BrokerError: the cluster cannot be reached, or refuses.
    """
    admin = AIOKafkaAdminClient(**await connection_options(kafka))

    async def ask() -> int:
        await admin.start()
        [response] = await admin.describe_consumer_groups([kafka.group_id])
        # a group is a tuple: error code, name, state, protocol type, protocol, members, ...
        return sum(len(group[5]) for group in response.groups)

    async def close() -> None:
        await ends_well(admin.close(), timeout_s=_CLOSE_TIMEOUT_S)

    async with reaching(kafka, f"looking for the members of {kafka.group_id}"):
        async with asyncio.timeout(_TIMEOUT_S):
            return await ask_client(ask(), stop=close)
