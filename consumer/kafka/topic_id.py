"""The id of a topic, which changes when the topic is deleted and created again.

aiokafka 0.14.0 requests metadata up to version 5; version 10 (Kafka 2.8) introduced ids.
"""

from io import BytesIO
from typing import Final

from aiokafka import errors as kafka_errors
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

__all__ = ["MetadataResponse", "find_topic_id"]

_NO_ID: Final = bytes(16)


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]  # aiokafka has no types
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


class MetadataResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    """Version 10."""

    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString()),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _MetadataRequestV10(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = MetadataResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("topic", CompactString()), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequestV10]):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_MetadataRequestV10]) -> _MetadataRequestV10:
        """Ask for one topic without creating it."""
        return request_struct_class([(_NO_ID, self._topic, {})], False, False, False, {})


async def find_topic_id(client: AIOKafkaClient, topic: str) -> str | None:
    """Return the id of a topic as hexadecimal digits, "" if the brokers know none.

    Returns:
        None if the topic does not exist now, or this user may not see it.

    Raises:
        KafkaError: no answer.
    """
    node = client.get_random_node()
    if node is None:
        raise kafka_errors.NodeNotReadyError("no broker is known")
    try:
        response = await client.send(node, _MetadataRequest(topic))
    except (NotImplementedError, kafka_errors.IncompatibleBrokerVersion):
        return ""
    [(code, _, topic_id, *_)] = response.topics
    error = kafka_errors.for_code(code)
    if error in (
        kafka_errors.UnknownTopicOrPartitionError,
        kafka_errors.TopicAuthorizationFailedError,
    ):
        return None
    if error is not kafka_errors.NoError and error is not kafka_errors.LeaderNotAvailableError:
        raise error(topic)
    return "" if topic_id == _NO_ID else topic_id.hex()
