"""aiokafka's errors as ours: the one place where they are told apart."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiokafka import errors as kafka

from streamlabel.errors import BrokerError

__all__ = ["broker_error", "mapped"]

# Retriable although aiokafka says otherwise: the group, the producer or the connection is replaced
# and the same call may then succeed.
_RETRIABLE: Final = (
    TimeoutError,
    asyncio.TimeoutError,
    OSError,
    kafka.CommitFailedError,
    kafka.IllegalGenerationError,
    kafka.IllegalStateError,
    kafka.InvalidProducerEpoch,
    kafka.InvalidProducerIdMapping,
    kafka.InvalidTxnState,
    kafka.KafkaTimeoutError,
    kafka.ConcurrentTransactions,
    kafka.OutOfOrderSequenceNumber,
    kafka.ProducerClosed,
    kafka.ProducerFenced,
    kafka.RebalanceInProgressError,
    kafka.UnknownMemberIdError,
    kafka.UnknownProducerId,
)
_ADVICE: Final[tuple[tuple[type[Exception], str], ...]] = (
    (kafka.TopicAuthorizationFailedError, "grant this user the topic (Read or Write, Describe)"),
    (kafka.GroupAuthorizationFailedError, "grant this user Read on the group kafka.group_id"),
    (
        kafka.TransactionalIdAuthorizationFailed,
        "grant this user Write and Describe on transactional ids that begin with kafka.group_id",
    ),
    (kafka.ClusterAuthorizationFailedError, "grant this user IdempotentWrite on the cluster"),
    (kafka.SaslAuthenticationFailed, "check kafka.security: user, password or token"),
    (kafka.AuthenticationFailedError, "check kafka.security: user, password or token"),
    (kafka.UnsupportedSaslMechanismError, "set kafka.security.sasl_mechanism to one of the broker"),
    (kafka.KafkaConnectionError, "check kafka.bootstrap_servers and kafka.security.protocol"),
    (kafka.UnknownTopicOrPartitionError, "create the topic, or set kafka.create_topics"),
)


def broker_error(error: BaseException, doing: str) -> BrokerError:
    """Return our error for one of aiokafka, the network or a timeout.

    Args:
        error: what was raised. Its own message is kept only where it cannot hold a record.
        doing: what was tried, as the subject of the message.
    """
    advice = next((text for kind, text in _ADVICE if isinstance(error, kind)), None)
    name = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    message = f"{doing}: {name}" + (f"; {advice}" if advice else "")
    return BrokerError(message, _is_retriable(error))


def _is_retriable(error: BaseException) -> bool:
    return isinstance(error, _RETRIABLE) or bool(getattr(error, "retriable", False))


@contextmanager
def mapped(doing: str) -> Iterator[None]:
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
        raise broker_error(error, doing) from error
