"""The meaning of the broker's error codes for the outputs that were sent. Pure.

Names, and which of them are temporary: ``org.apache.kafka.common.protocol.Errors`` of Apache Kafka
4.3. aiokafka 0.14.0 knows those up to 72 and treats nearly every other as -1. The others are added
to
its table of codes: otherwise neither the number nor whether the error is temporary is known.
"""

from typing import Final, Literal

from aiokafka.errors import (
    BrokerResponseError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)

from streamlabel.consumer.kafka.aiokafka_internals.error_table import complete_error_table

__all__ = [
    "TOO_LARGE",
    "Meaning",
    "is_denied",
    "is_doubtful",
    "is_final",
    "is_refusal",
    "is_temporary",
    "meaning",
    "name_of",
]

# These are also about a record, but sizes are known here, and smaller batches help.
TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)

Meaning = Literal[
    "retry",  # the same outputs may be accepted later, by another broker, or from a new producer
    "record",  # one of these outputs violates a rule of its topic, now and later
    "final",  # none is accepted before an operator has changed something
]

# From 73 on, where aiokafka's list ends, except for 79, which it has.
_NAMES: Final = tuple(
    """
    TOPIC_DELETION_DISABLED FENCED_LEADER_EPOCH UNKNOWN_LEADER_EPOCH UNSUPPORTED_COMPRESSION_TYPE
    STALE_BROKER_EPOCH OFFSET_NOT_AVAILABLE MEMBER_ID_REQUIRED PREFERRED_LEADER_NOT_AVAILABLE
    GROUP_MAX_SIZE_REACHED FENCED_INSTANCE_ID ELIGIBLE_LEADERS_NOT_AVAILABLE ELECTION_NOT_NEEDED
    NO_REASSIGNMENT_IN_PROGRESS GROUP_SUBSCRIBED_TO_TOPIC INVALID_RECORD UNSTABLE_OFFSET_COMMIT
    THROTTLING_QUOTA_EXCEEDED PRODUCER_FENCED RESOURCE_NOT_FOUND DUPLICATE_RESOURCE
    UNACCEPTABLE_CREDENTIAL INCONSISTENT_VOTER_SET INVALID_UPDATE_VERSION FEATURE_UPDATE_FAILED
    PRINCIPAL_DESERIALIZATION_FAILURE SNAPSHOT_NOT_FOUND POSITION_OUT_OF_RANGE UNKNOWN_TOPIC_ID
    DUPLICATE_BROKER_REGISTRATION BROKER_ID_NOT_REGISTERED INCONSISTENT_TOPIC_ID
    INCONSISTENT_CLUSTER_ID TRANSACTIONAL_ID_NOT_FOUND FETCH_SESSION_TOPIC_ID_ERROR
    INELIGIBLE_REPLICA NEW_LEADER_ELECTED OFFSET_MOVED_TO_TIERED_STORAGE FENCED_MEMBER_EPOCH
    UNRELEASED_INSTANCE_ID UNSUPPORTED_ASSIGNOR STALE_MEMBER_EPOCH MISMATCHED_ENDPOINT_TYPE
    UNSUPPORTED_ENDPOINT_TYPE UNKNOWN_CONTROLLER_ID UNKNOWN_SUBSCRIPTION_ID TELEMETRY_TOO_LARGE
    INVALID_REGISTRATION TRANSACTION_ABORTABLE INVALID_RECORD_STATE SHARE_SESSION_NOT_FOUND
    INVALID_SHARE_SESSION_EPOCH FENCED_STATE_EPOCH INVALID_VOTER_KEY DUPLICATE_VOTER
    VOTER_NOT_FOUND INVALID_REGULAR_EXPRESSION REBOOTSTRAP_REQUIRED STREAMS_INVALID_TOPOLOGY
    STREAMS_INVALID_TOPOLOGY_EPOCH STREAMS_TOPOLOGY_FENCED SHARE_SESSION_LIMIT_REACHED
    """.split()  # noqa: SIM905 a list would take a line for each
)
_FIRST: Final = 73
# Kafka's own RetriableException, without 2 (CORRUPT_MESSAGE): before 2.4 it also meant a record
# without key on a compacted topic. A batch that was damaged on the way is sent again in smaller
# parts.
_TEMPORARY: Final = frozenset(
    {3, 5, 6, 7, 9, 13, 14, 15, 16, 19, 20, 41, 51, 56, 70, 71, 72, 74, 75, 78, 80, 83, 84, 88, 89}
    | {100, 103, 106, 122, 123, 133}
)
# The broker that answered, this producer or its transaction must be replaced, not the outputs.
_REPLACED: Final = frozenset(
    {8, 11, 22, 25, 27, 45, 46, 47, 48, 49, 52, 55, 57, 59, 60, 77, 90, 105, 107, 108, 110, 113}
    | {120, 129}
)
_DENIED: Final = frozenset({29, 30, 31, 53, 65})
_LOGIN: Final = frozenset({33, 34, 54, 58, 61, 62, 63, 64, 66, 97})
# The request as a whole is wrong, whatever is in it: the topic's name, acks, version, compression.
_REQUEST: Final = frozenset({17, 21, 24, 35, 50, 76})
_LARGEST: Final = 133


def meaning(code: int) -> Meaning:
    """Return what the error code ``code`` means for the outputs; any number has a meaning.

    An unknown code counts as an error of the outputs, because it must not stop a partition.
    """
    if code in _TEMPORARY or code in _REPLACED:
        return "retry"
    return "final" if code in _DENIED | _LOGIN | _REQUEST else "record"


def is_denied(code: int) -> bool:
    """Return whether a right is missing."""
    return code in _DENIED


def is_doubtful(code: int) -> bool:
    """Return whether the error may be accidental, so that one more attempt is worthwhile."""
    return not 0 <= code <= _LARGEST


def is_refusal(error: BaseException) -> bool:
    """Return whether an answer to a batch means that a record in it violates a rule of its topic.

    Only for the broker's response to the batch itself: a missing response is about no record.
    """
    return (
        isinstance(error, BrokerResponseError)
        and not isinstance(error, TOO_LARGE)
        and meaning(error.errno) == "record"
    )


def is_final(error: BaseException) -> bool:
    """Return whether an operator has to change something before any output is accepted."""
    return isinstance(error, BrokerResponseError) and meaning(error.errno) == "final"


def is_temporary(code: int) -> bool:
    """Return whether Kafka itself calls the error retriable."""
    return code in _TEMPORARY


def name_of(error: BaseException) -> str:
    """Return the name to look an error up by: Kafka's name and number, else that of the class."""
    if isinstance(error, BrokerResponseError):
        return f"{error.message} ({error.errno})"
    return type(error).__name__


def _name_of_code(code: int) -> str:
    """Return the name of a code that aiokafka has no class for."""
    if _FIRST <= code < _FIRST + len(_NAMES):
        return _NAMES[code - _FIRST]
    return f"CODE_{code}"


complete_error_table(_name_of_code, is_temporary=is_temporary)
