"""Rights in the words in which they are asked for."""

import pytest
from aiokafka import errors as kafka

from streamlabel.config.kafka import KafkaSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.kafka.access import refuse_missing_rights
from streamlabel.consumer.kafka.errors import right_for
from streamlabel.consumer.kafka.needed_rights import replay_rights, service_rights
from streamlabel.consumer.kafka.rights import Right, principal_of, spoken
from streamlabel.consumer.kafka.transactional_ids import input_id, replay_id
from streamlabel.errors import BrokerError

ONCE = Settings.model_validate(
    {"model": {"backend": "fake"}, "delivery": {"guarantee": "exactly_once"}}
)


def test_operations_on_one_resource_are_one_phrase() -> None:
    rights = [Right("Describe", "topic", "texts"), Right("Read", "topic", "texts")]
    assert spoken(rights) == ["Read and Describe on the topic texts"]
    assert spoken([*rights, Right("Write", "topic", "labels")])[1] == "Write on the topic labels"


def test_transactional_ids_are_one_phrase_with_their_prefix() -> None:
    rights = [right for right in service_rights(ONCE, partitions=100) if right[1] != "topic"]
    assert spoken(rights) == [
        "Read and Describe on the group streamlabel (kafka.group_id)",
        "Write and Describe on transactional ids with the prefix kafka.group_id"
        " (here streamlabel/input/texts/0, streamlabel/input/texts/1 and 98 more)",
    ]


def test_replays_have_a_prefix_of_their_own() -> None:
    name = replay_id(TopicPartition("dead-letters", 0))
    [phrase] = spoken([Right("Write", "transactional id", name)])
    assert phrase == (
        "Write on transactional ids with the prefix streamlabel/replay/"
        " (here streamlabel/replay/dead-letters/0)"
    )


@pytest.mark.parametrize(
    ("error", "rights"),
    [
        (kafka.TopicAuthorizationFailedError("texts"), [Right("Read", "topic", "texts")]),
        (kafka.GroupAuthorizationFailedError("mod"), [Right("Read", "group", "mod")]),
        *(
            (
                kafka.TransactionalIdAuthorizationFailed(name),
                [
                    Right("Write", "transactional id", name),
                    Right("Describe", "transactional id", name),
                ],
            )
            for place in [TopicPartition("a", 1)]
            for name in (input_id("mod", place), replay_id(place))
        ),
    ],
)
def test_check_and_the_error_at_run_time_have_the_same_words(
    error: kafka.BrokerResponseError, rights: list[Right]
) -> None:
    assert spoken(rights) == [right_for(error, rights[0].operation)]


def test_at_least_once_needs_no_transactional_id_and_topics_once() -> None:
    settings = Settings.model_validate({"model": {"backend": "fake"}})
    rights = service_rights(settings, partitions=5)
    assert {right.kind for right in rights} == {"topic", "group"}
    assert len(set(rights)) == len(rights)


def test_a_dry_run_writes_nothing() -> None:
    assert {right.operation for right in replay_rights(ONCE, partitions=3, execute=False)} == {
        "Read",
        "Describe",
    }
    assert sum(
        right.kind == "transactional id"
        for right in replay_rights(ONCE, partitions=3, execute=True)
    ) == 6  # fmt: skip


@pytest.mark.parametrize(
    ("security", "says"),
    [
        ({}, "User:ANONYMOUS (kafka.security has no login)"),
        (
            {
                "protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "username": "alice",
                "password": "planted-secret",
            },
            "User:alice (kafka.security.username)",
        ),
        (
            {"protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER", "token_file": "/t"},
            "kafka.security.token_file",
        ),
        ({"protocol": "SSL", "cert_file": "/c", "key_file": "/k"}, "kafka.security.cert_file"),
    ],
)  # fmt: skip
def test_whom_to_grant_it_is_named_with_the_setting(security: dict[str, str], says: str) -> None:
    settings = KafkaSettings.model_validate({"security": security})
    assert says in principal_of(settings)
    refuse_missing_rights(settings, [])
    with pytest.raises(BrokerError) as caught:
        refuse_missing_rights(settings, [Right("Read", "topic", "texts")])
    assert "grant this user Read on the topic texts. The user is " in str(caught.value)
    assert says in str(caught.value)
    assert "planted-secret" not in str(caught.value)
    assert not caught.value.retriable
