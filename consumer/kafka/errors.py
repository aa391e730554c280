"""Maps aiokafka's errors to ours: the only place where they are distinguished."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiokafka import errors as kafka

from streamlabel.consumer.kafka.error_codes import is_denied, meaning, name_of
from streamlabel.consumer.kafka.rights import Right, spoken
from streamlabel.errors import BrokerError

__all__ = ["broker_error", "is_retriable", "mapped", "right_for"]

# Retriable although aiokafka says otherwise: the group, the producer or the connection is replaced
# and the same call may then succeed.
_RETRIABLE: Final = (
    TimeoutError,
    asyncio.TimeoutError,
    OSError,
    kafka.CommitFailedError,
    kafka.IllegalStateError,
    kafka.KafkaTimeoutError,
    kafka.ProducerClosed,
    kafka.ProducerFenced,
)
_ADVICE: Final[tuple[tuple[type[Exception], str], ...]] = (
    (kafka.SaslAuthenticationFailed, "check kafka.security: user, password or token"),
    (kafka.AuthenticationFailedError, "check kafka.security: user, password or token"),
    (kafka.UnsupportedSaslMechanismError, "set kafka.security.sasl_mechanism to one of the broker"),
    (kafka.KafkaConnectionError, "check kafka.bootstrap_servers and kafka.security.protocol"),
    (kafka.UnknownTopicOrPartitionError, "create the topic, or set kafka.create_topics"),
    (
        kafka.InconsistentGroupProtocolError,
        "the group kafka.group_id has members of other software, with another partition assignor;"
        " all must offer `sticky`: stop them, or use another group",
    ),
    (kafka.InvalidTimestampError, "check the clocks of this machine and of the brokers"),
)


def broker_error(error: BaseException, doing: str, *, right: str | None = None) -> BrokerError:
    """Return our error for one of aiokafka, the network or a timeout.

    Args:
        error: what was raised. Its own message is kept only where it cannot hold a record.
        doing: what was tried, as the beginning of the message.
        right: the operation on a topic that it requires; None: derived from the error.
    """
    if isinstance(error, kafka.BrokerResponseError) and is_denied(error.errno):
        return BrokerError(f"{doing}: {name_of(error)}; grant this user {right_for(error, right)}")
    advice = next((text for kind, text in _ADVICE if isinstance(error, kind)), None)
    name = "no answer in time" if isinstance(error, TimeoutError) else name_of(error)
    message = f"{doing}: {name}" + (f"; {advice}" if advice else "")
    return BrokerError(message, is_retriable(error))


def right_for(error: kafka.BrokerResponseError, operation: str | None = None) -> str:
    """Return the operation and the resource that an answer "not authorized" is about.

    Args:
        error: some of aiokafka's errors contain the name of the resource.
        operation: on a topic, if it is known.
    """
    named = error.args[0] if error.args else None
    names = sorted(named) if isinstance(named, set | frozenset) else [named] if named else []
    these = " " + ", ".join(map(str, names)) if names else ""
    match error:
        case kafka.TopicAuthorizationFailedError():
            return f"{operation or 'Read (input) or Write (outputs)'} on the topic{these}"
        case kafka.GroupAuthorizationFailedError():
            return f"Read on the group{these} (kafka.group_id)"
        case kafka.TransactionalIdAuthorizationFailed():
            if not names:
                return "Write and Describe on transactional ids with the prefix kafka.group_id"
            both = [
                Right(each, "transactional id", str(name))
                for name in names
                for each in ("Write", "Describe")
            ]
            return "; ".join(spoken(both))
        case kafka.ClusterAuthorizationFailedError():
            return f"{'Create' if operation == 'Create' else 'IdempotentWrite'} on the cluster"
    return "the necessary right"


def is_retriable(error: BaseException) -> bool:
    """Return whether the same call may succeed later."""
    if isinstance(error, kafka.BrokerResponseError) and meaning(error.errno) == "retry":
        return True
    return isinstance(error, _RETRIABLE) or bool(getattr(error, "retriable", False))


@contextmanager
def mapped(doing: str, *, right: str | None = None) -> Iterator[None]:
    """Raise aiokafka's errors, network errors and timeouts of the body as BrokerError."""
    try:
        yield
    except (
        kafka.KafkaError,
        kafka.ConsumerStoppedError,
        kafka.IllegalOperation,
        OSError,
        TimeoutError,
    ) as error:
        raise broker_error(error, doing, right=right) from error
