"""A password that is changed at the brokers while the service runs."""

import asyncio
import uuid
from collections.abc import Iterable
from pathlib import Path

import pytest
from aiokafka.conn import AIOKafkaConnection
from confluent_kafka.admin import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from streamlabel.consumer.kafka.open_ports import cause_of_outage
from streamlabel.consumer.kafka.passwords import watch_passwords
from streamlabel.consumer.kafka.source import KafkaSource
from streamlabel.consumer.kafka.topics import ensure_topics
from streamlabel.errors import BrokerError
from streamlabel.models.core.system_clock import SystemClock
from testing.kafka_broker import LocalCluster
from tests.kafka.test_reading import GUARANTEES, WITHIN_S, Topics, running, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

in_thread = asyncio.to_thread


def set_password(cluster: LocalCluster, user: str, password: str) -> None:
    """Create the user, or change the password."""
    change = UserScramCredentialUpsertion(
        user, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), password.encode()
    )
    admin = cluster.admin()  # kept until the answer is there
    admin.alter_user_scram_credentials([change])[user].result(30)


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Iterable[AIOKafkaConnection]:
    """All that this process opens from now on."""
    opened: list[AIOKafkaConnection] = []
    connect = AIOKafkaConnection.connect

    async def noted(connection: AIOKafkaConnection) -> object:
        opened.append(connection)
        return await connect(connection)

    monkeypatch.setattr(AIOKafkaConnection, "connect", noted)
    return opened


async def has_lost_all(source: KafkaSource) -> None:
    async with asyncio.timeout(WITHIN_S):
        while any((await source.connections()).values()):  # noqa: ASYNC110 aiokafka has no event
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_a_changed_password_is_named_and_nothing_is_lost_until_it_is_right_again(
    secure_kafka: LocalCluster, guarantee: str, connections: Iterable[AIOKafkaConnection]
) -> None:
    user = f"user-{uuid.uuid4()}"
    await in_thread(set_password, secure_kafka, user, "first-password")
    topics = await in_thread(Topics.create, secure_kafka)
    security = {
        "protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-256",
        "username": user,
        "password": "first-password",
        "allow_insecure": True,
    }
    kafka = {"bootstrap_servers": secure_kafka.address("SASL_PLAINTEXT"), "security": security}
    settings = topics.settings(guarantee, kafka=kafka)
    async with running(settings) as (source, task):
        assert isinstance(source, KafkaSource)
        await in_thread(secure_kafka.produce, topics.texts, [b"0.9 one"])
        await until(lambda: topics.committed() == 1, "it works")
        await in_thread(set_password, secure_kafka, user, "second-password")
        await in_thread(secure_kafka.produce, topics.texts, [b"0.9 two"])
        await until(lambda: topics.committed() == 2, "open connections stay")
        for connection in connections:
            connection.close()  # as a broker that restarts does
        await in_thread(secure_kafka.produce, topics.texts, [b"0.9 three"])
        await has_lost_all(source)
        said = await cause_of_outage(settings.kafka)
        assert said is not None
        assert f"refuses the login of user {user} (SCRAM-SHA-256)" in said
        assert "first-password" not in said
        with pytest.raises(BrokerError, match="refuses the login") as restarted:
            await ensure_topics(settings.kafka, [topics.texts])
        assert not restarted.value.retriable, "a restart with the old password ends"
        assert not task.done()
        assert topics.committed() == 2
        await in_thread(set_password, secure_kafka, user, "first-password")
        await until(lambda: topics.committed() == 3, "it goes on by itself")
    assert await in_thread(topics.labelled) == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize("file_first", [True, False], ids=["file first", "brokers first"])
@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_a_password_in_a_file_is_rotated_without_a_restart(
    secure_kafka: LocalCluster,
    guarantee: str,
    connections: Iterable[AIOKafkaConnection],
    file_first: bool,
    tmp_path: Path,
) -> None:
    user, file = f"user-{uuid.uuid4()}", tmp_path / "password"
    await in_thread(set_password, secure_kafka, user, "first-password")
    await in_thread(file.write_text, "first-password\n")
    topics = await in_thread(Topics.create, secure_kafka)
    security = {
        "protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-256",
        "username": user,
        "password_file": str(file),
        "allow_insecure": True,
    }
    kafka = {"bootstrap_servers": secure_kafka.address("SASL_PLAINTEXT"), "security": security}
    settings = topics.settings(guarantee, kafka=kafka)
    async with running(settings) as (source, task), asyncio.TaskGroup() as group:
        assert isinstance(source, KafkaSource)
        watching = group.create_task(watch_passwords(SystemClock()))  # as the service does
        await in_thread(secure_kafka.produce, topics.texts, [b"0.9 one"])
        await until(lambda: topics.committed() == 1, "it works")
        if file_first:
            await in_thread(file.write_text, "second-password\n")
        await in_thread(set_password, secure_kafka, user, "second-password")
        for connection in connections:
            connection.close()  # as a broker that restarts does
        await in_thread(secure_kafka.produce, topics.texts, [b"0.9 two"])
        if not file_first:
            await has_lost_all(source)
            await in_thread(file.write_text, "second-password\n")
        await until(lambda: topics.committed() == 2, "it logs in with the new password")
        assert not task.done()
        watching.cancel()
    assert await in_thread(topics.labelled) == [(0, 0), (0, 1)]
