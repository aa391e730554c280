"""Requests about rights that aiokafka 0.14.0 does not have."""

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Array,
    CompactArray,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)

__all__ = ["DescribeAclsRequest", "DescribeTransactionsRequest"]


class _DescribeAclsResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 29
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("error_message", String("utf-8")),
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                ("pattern_type", Int8),
                (
                    "acls",
                    Array(
                        ("principal", String("utf-8")),
                        ("host", String("utf-8")),
                        ("operation", Int8),
                        ("permission_type", Int8),
                    ),
                ),
            ),
        ),
    )


class _DescribeAclsRequestV1(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 29
    API_VERSION = 1
    RESPONSE_TYPE = _DescribeAclsResponse
    SCHEMA = Schema(
        ("resource_type", Int8),
        ("resource_name", String("utf-8")),
        ("pattern_type", Int8),
        ("principal", String("utf-8")),
        ("host", String("utf-8")),
        ("operation", Int8),
        ("permission_type", Int8),
    )


class DescribeAclsRequest(Request[_DescribeAclsRequestV1]):  # type: ignore[misc]  # no types
    """Is there an authorizer?"""

    API_KEY = 29

    def build(self, request_struct_class: type[_DescribeAclsRequestV1]) -> _DescribeAclsRequestV1:
        """Ask for the literal ACLs of a topic with an impossible name: no result is needed."""
        topic, literal, any_operation, any_permission = 2, 3, 1, 1
        return request_struct_class(topic, "/", literal, None, None, any_operation, any_permission)


class _DescribeTransactionsResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 65
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "transactions",
            CompactArray(
                ("error_code", Int16),
                ("transactional_id", CompactString()),
                ("state", CompactString()),
                ("timeout_ms", Int32),
                ("start_time_ms", Int64),
                ("producer_id", Int64),
                ("producer_epoch", Int16),
                (
                    "topics",
                    CompactArray(
                        ("topic", CompactString()),
                        ("partitions", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _DescribeTransactionsRequestV0(RequestStruct):  # type: ignore[misc]  # no types
    FLEXIBLE_VERSION = True
    API_KEY = 65
    API_VERSION = 0
    RESPONSE_TYPE = _DescribeTransactionsResponse
    SCHEMA = Schema(("transactional_ids", CompactArray(CompactString())), ("tags", TaggedFields))


class DescribeTransactionsRequest(
    Request[_DescribeTransactionsRequestV0]  # type: ignore[misc]  # aiokafka has no types
):
    """The state of one transactional id; from Kafka 3.0 on."""

    API_KEY = 65

    def __init__(self, name: str) -> None:
        self._name = name

    def build(
        self, request_struct_class: type[_DescribeTransactionsRequestV0]
    ) -> _DescribeTransactionsRequestV0:
        """Ask for one transactional id."""
        return request_struct_class([self._name], {})
