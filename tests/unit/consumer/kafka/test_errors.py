"""Which errors are worth another attempt, and what the others tell to change."""

import pytest
from aiokafka import errors as kafka

from streamlabel.consumer.kafka.errors import broker_error, mapped
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
        (kafka.TopicAuthorizationFailedError("t"), "grant this user Read (input) or Write"),
        (kafka.TopicAuthorizationFailedError({"u", "t"}), "on the topic t, u"),
        (kafka.TopicAuthorizationFailedError(), "on the topic"),
        (kafka.GroupAuthorizationFailedError("g"), "kafka.group_id"),
        (kafka.TransactionalIdAuthorizationFailed("id"), "Write and Describe on transactional ids"),
        (kafka.TransactionalIdAuthorizationFailed("id"), "(here id)"),
        (kafka.ClusterAuthorizationFailedError(), "IdempotentWrite on the cluster"),
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


def test_a_known_operation_is_the_one_that_is_named() -> None:
    ours = broker_error(kafka.TopicAuthorizationFailedError("t"), "doing", right="Write")
    assert str(ours) == (
        "doing: TOPIC_AUTHORIZATION_FAILED (29); grant this user Write on the topic t"
    )


def test_a_right_on_a_topic_is_not_taken_for_one_on_the_cluster() -> None:
    denied = kafka.ClusterAuthorizationFailedError()
    for right, named in ((None, "IdempotentWrite"), ("Write", "IdempotentWrite")):
        ours = broker_error(denied, "delivering", right=right)
        assert str(ours).endswith(f"grant this user {named} on the cluster")
    creating = broker_error(denied, "creating", right="Create")
    assert str(creating).endswith("grant this user Create on the cluster")


def test_an_answer_is_called_by_the_name_and_number_that_kafka_documents() -> None:
    for code, name in ((87, "INVALID_RECORD"), (-1, "UNKNOWN"), (999, "CODE_999")):
        assert f"{name} ({code})" in str(broker_error(kafka.for_code(code)(), "doing"))
