"""A new epoch for a transactional producer whose sequence has a gap, without fencing a newer one.

A batch that the broker refuses leaves a gap in the sequence numbers of its partition, so that the
producer cannot write there any more. Starting another producer with the same transactional id would
fence a newer owner of the partition. Version 3 of InitProducerId (KIP-360, Kafka 2.5) contains the
epoch to replace, and the broker refuses it if that is not the newest. aiokafka 0.14.0 has
version 0.
"""

import asyncio
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import IncompatibleBrokerVersion, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactString, Int16, Int32, Int64, Schema, TaggedFields

from streamlabel.consumer.kafka.aiokafka_internals.transactions import (
    producer_id_and_epoch,
    start_epoch,
    transactional_id,
)
from streamlabel.consumer.kafka.error_codes import is_temporary
from streamlabel.errors import BrokerError

__all__ = ["begin_epoch"]

_RETRY_S: Final = 0.02


class _InitProducerIdResponseV3(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 22
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("tags", TaggedFields),
    )


class _InitProducerIdRequestV3(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    FLEXIBLE_VERSION = True
    API_KEY = 22
    API_VERSION = 3
    RESPONSE_TYPE = _InitProducerIdResponseV3
    SCHEMA = Schema(
        ("transactional_id", CompactString()),
        ("transaction_timeout_ms", Int32),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("tags", TaggedFields),
    )


class _InitProducerIdRequest(Request[_InitProducerIdRequestV3]):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 22

    def __init__(self, *fields: object) -> None:
        self._fields = fields

    def build(
        self, request_struct_class: type[_InitProducerIdRequestV3]
    ) -> _InitProducerIdRequestV3:
        return request_struct_class(*self._fields, {})


async def begin_epoch(producer: AIOKafkaProducer, *, transaction_timeout_ms: int) -> None:
    """Restart the sequence numbers of a producer that is in no transaction.

    Raises:
        BrokerError: not retriable: the broker is older than 2.5.
        KafkaError, OSError: failed, because a newer producer has the id, or there is no answer.
            The producer must be discarded. The caller limits the time.
    """
    client = producer.client
    while True:
        name = transactional_id(producer)
        node = await client.coordinator_lookup(CoordinationType.TRANSACTION, name)
        request = _InitProducerIdRequest(
            name, transaction_timeout_ms, *producer_id_and_epoch(producer)
        )
        try:
            response = await client.send(node, request, group=ConnectionGroup.COORDINATION)
        except (NotImplementedError, IncompatibleBrokerVersion) as error:
            raise BrokerError(
                "the broker refuses an output, after which exactly once needs Kafka 2.5 or newer:"
                " update the brokers, or set delivery.guarantee: at_least_once"
            ) from error
        if response.error_code == 0:
            break
        if not is_temporary(response.error_code):
            raise for_code(response.error_code)
        await asyncio.sleep(_RETRY_S)  # the coordinator moves, loads or writes markers
    start_epoch(producer, response.producer_id, response.producer_epoch)
