"""Adds the cause to connection errors, for code that starts a client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import errors as kafka_errors

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.kafka.diagnosis import diagnose
from streamlabel.consumer.kafka.errors import broker_error
from streamlabel.errors import BrokerError

__all__ = ["reaching"]

_OF_A_CONNECTION: Final = (
    kafka_errors.AuthenticationFailedError,
    kafka_errors.KafkaConnectionError,
    kafka_errors.KafkaTimeoutError,
    kafka_errors.NodeNotReadyError,
    kafka_errors.NoBrokersAvailable,
    kafka_errors.RequestTimedOutError,
    kafka_errors.SaslAuthenticationFailed,
    OSError,
    TimeoutError,
)


@asynccontextmanager
async def reaching(
    kafka: KafkaSettings, doing: str, *, right: str | None = None
) -> AsyncIterator[None]:
    """Raise aiokafka's errors of the body as BrokerError, those of a connection with their cause.

    A cause that only an operator can change (a refused login, a certificate) is not retriable.
    Finding the cause may take some seconds more.
    """
    try:
        yield
    except _OF_A_CONNECTION as error:
        cause = await diagnose(kafka)
        if cause is None:
            raise broker_error(error, doing) from error
        raise BrokerError(f"{doing}: {cause.sentence}", not cause.is_final) from error
    except (kafka_errors.KafkaError, kafka_errors.IllegalOperation) as error:
        raise broker_error(error, doing, right=right) from error
