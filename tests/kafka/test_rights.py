"""A right that is missing is named: the operation and the resource."""

import asyncio
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from streamlabel.config.kafka import InputSettings, KafkaSettings
from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import Position, TopicPartition
from streamlabel.consumer.kafka.open_ports import KafkaSink, KafkaSource, TransactionalSink
from streamlabel.consumer.kafka.topics import ensure_topics
from streamlabel.consumer.kafka.transactional_ids import input_id
from streamlabel.errors import BrokerError
from streamlabel.models.core.system_clock import SystemClock
from testing.kafka_broker import LocalCluster
from tests.doubles import RecordingListener
from tests.kafka.test_security import unsigned_token

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

P0 = TopicPartition("texts", 0)
DENIALS = 16
in_thread = asyncio.to_thread


class User:
    """Somebody with every right but those that a test takes away."""

    def __init__(self, cluster: LocalCluster, folder: Path) -> None:
        assert cluster.secured is not None
        self._cluster = cluster
        self._name = f"user-{uuid.uuid4()}"
        token = folder / "token"
        token.write_text(unsigned_token(self._name))
        self.kafka = KafkaSettings.model_validate(
            {
                "bootstrap_servers": cluster.address("SASL_SSL"),
                "group_id": f"group-{uuid.uuid4()}",
                "security": {
                    "protocol": "SASL_SSL",
                    "ca_file": cluster.secured.ca_file,
                    "sasl_mechanism": "OAUTHBEARER",
                    "token_file": token,
                },
            }
        )

    def lacks(self, operation: AclOperation, kind: ResourceType, name: str) -> None:
        """Take one right away; a refusal counts for more than what all may."""
        resource = (kind, name, ResourcePatternType.LITERAL)
        everybody = AclBinding(*resource, "User:*", "*", AclOperation.ALL, AclPermissionType.ALLOW)
        refused = AclBinding(
            *resource, f"User:{self._name}", "*", operation, AclPermissionType.DENY
        )
        admin = self._cluster.admin()  # kept until the answers are there
        done = admin.create_acls([everybody, refused])
        for each in done.values():
            each.result(60)


@pytest.fixture
def user(secure_kafka: LocalCluster, tmp_path: Path) -> User:
    return User(secure_kafka, tmp_path)


def outputs(topic: str) -> Sequence[Outbound]:
    return [Outbound(topic, None, b"{}", (), Position("texts", 0, 0))]


async def test_topics_that_may_not_be_created_say_so(user: User) -> None:
    await in_thread(user.lacks, AclOperation.CREATE, ResourceType.BROKER, "kafka-cluster")
    name = f"labels-{uuid.uuid4()}"
    await in_thread(user.lacks, AclOperation.CREATE, ResourceType.TOPIC, name)
    kafka = user.kafka.model_copy(update={"create_topics": True})
    with pytest.raises(BrokerError) as caught:
        await ensure_topics(kafka, [name])
    assert f"creating the topic {name} (kafka.create_topics): " in str(caught.value)
    assert f"grant this user Create on the topic {name}" in str(caught.value)
    assert not caught.value.retriable


@pytest.mark.parametrize("sink_of", ["at_least_once", "exactly_once"])
async def test_an_output_that_may_not_be_written_says_so(
    user: User, secure_kafka: LocalCluster, sink_of: str
) -> None:
    topic = await in_thread(secure_kafka.topic, "labels")
    await in_thread(user.lacks, AclOperation.WRITE, ResourceType.TOPIC, topic)
    sink = (
        KafkaSink(user.kafka, [topic])
        if sink_of == "at_least_once"
        else TransactionalSink(user.kafka, [topic], transaction_timeout_ms=20_000)
    )
    await sink.start()
    try:
        await sink.assigned([P0])
        with pytest.raises(BrokerError) as caught:
            await sink.deliver(P0, outputs(topic), 1)
    finally:
        await sink.stop()
    assert f"grant this user Write on the topic {topic}" in str(caught.value)
    assert not caught.value.retriable


async def test_a_transactional_id_that_may_not_be_used_says_so(
    user: User, secure_kafka: LocalCluster
) -> None:
    topic = await in_thread(secure_kafka.topic, "labels")
    name = input_id(user.kafka.group_id, P0)
    await in_thread(user.lacks, AclOperation.WRITE, ResourceType.TRANSACTIONAL_ID, name)
    sink = TransactionalSink(user.kafka, [topic], transaction_timeout_ms=20_000)
    await sink.start()
    try:
        with pytest.raises(BrokerError, match="grant this user Write and Describe") as caught:
            await sink.assigned([P0])
    finally:
        await sink.stop()
    assert not caught.value.retriable


async def read_forever(source: KafkaSource) -> None:
    await source.start(RecordingListener())
    try:
        while True:
            await source.poll(max_items=1, timeout_s=1)
    finally:
        await source.stop()


@pytest.mark.parametrize("what", ["topic", "group"])
async def test_an_input_that_may_not_be_read_says_so(
    user: User, secure_kafka: LocalCluster, what: str
) -> None:
    topic = await in_thread(secure_kafka.topic, "texts")
    await in_thread(secure_kafka.produce, topic, [b"text"])
    if what == "topic":
        await in_thread(user.lacks, AclOperation.READ, ResourceType.TOPIC, topic)
    else:
        await in_thread(user.lacks, AclOperation.READ, ResourceType.GROUP, user.kafka.group_id)
    settings = InputSettings(topic=topic, start_at="earliest")
    source = KafkaSource(user.kafka, settings, SystemClock(), revoke_timeout_s=5)
    with pytest.raises(BrokerError) as caught:
        await asyncio.wait_for(read_forever(source), 60)
    wanted = topic if what == "topic" else user.kafka.group_id
    assert f"grant this user Read on the {what} {wanted}" in str(caught.value)
    assert not caught.value.retriable


async def test_a_transaction_that_is_denied_leaves_nothing_behind(
    secure_kafka: LocalCluster, user: User
) -> None:
    """Not even in the transaction before it, whose markers the broker may still be writing."""
    texts, labels, review = [
        await in_thread(secure_kafka.topic, name, partitions=DENIALS)
        for name in ("texts", "labels", "review")
    ]
    await in_thread(user.lacks, AclOperation.WRITE, ResourceType.TOPIC, labels)
    sink = TransactionalSink(user.kafka, [labels, review], transaction_timeout_ms=30_000)
    await sink.start()

    async def deliver_and_be_denied(number: int) -> None:
        at = TopicPartition(texts, number)
        position = Position(texts, number, 0)
        await sink.assigned([at])
        await sink.deliver(at, [Outbound(review, None, b"kept", (), position)], 1)
        refused = [Outbound(topic, None, b"refused", (), position) for topic in (labels, review)]
        with pytest.raises(BrokerError, match=f"Write on the topic {labels}"):
            await sink.deliver(at, refused, 2)
        await sink.assigned([at])  # as the next owner does
        await sink.deliver(at, [Outbound(review, None, b"kept", (), position)], 2)

    try:
        await asyncio.gather(*map(deliver_and_be_denied, range(DENIALS)))
    finally:
        await sink.stop()
    found = [message.value() for message in await in_thread(secure_kafka.read, review)]
    assert found == [b"kept"] * 2 * DENIALS
