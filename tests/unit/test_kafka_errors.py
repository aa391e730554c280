"""Which errors are worth another attempt, and what the others tell to change."""

import pytest
from aiokafka import errors as kafka

from streamlabel.consumer.kafka_errors import broker_error, mapped
from streamlabel.errors import BrokerError


@pytest.mark.parametrize(
    "error",
    [
        kafka.KafkaConnectionError(),
        kafka.NotEnoughReplicasError(),
        kafka.RequestTimedOutError(),
        kafka.KafkaTimeoutError(),
        kafka.CommitFailedError(),
        kafka.OutOfOrderSequenceNumber(),
        kafka.ProducerClosed(),
        TimeoutError(),
        ConnectionResetError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_passes_by_itself_is_retriable(error: Exception) -> None:
    assert broker_error(error, "doing").retriable


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (kafka.TopicAuthorizationFailedError("t"), "grant"),
        (kafka.GroupAuthorizationFailedError("g"), "kafka.group_id"),
        (kafka.TransactionalIdAuthorizationFailed("id"), "transactional ids"),
        (kafka.SaslAuthenticationFailed(), "kafka.security"),
        (kafka.UnsupportedSaslMechanismError(), "sasl_mechanism"),
    ],
)
def test_what_an_operator_must_change_is_final_and_says_what(error: Exception, advice: str) -> None:
    ours = broker_error(error, "doing")
    assert not ours.retriable
    assert advice in str(ours)


def test_a_foreign_message_never_travels_because_it_may_hold_a_record() -> None:
    assert "secret text" not in str(broker_error(kafka.KafkaError("secret text"), "doing"))


def test_the_cause_is_kept_and_foreign_bugs_are_not_caught() -> None:
    with pytest.raises(BrokerError) as caught, mapped("doing"):
        raise kafka.RequestTimedOutError
    assert isinstance(caught.value.__cause__, kafka.RequestTimedOutError)
    with pytest.raises(ZeroDivisionError), mapped("doing"):
        raise ZeroDivisionError
