"""Every way to log in that the settings offer, against a broker that checks."""

import asyncio
import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.topics import ensure_topics
from streamlabel.errors import BrokerError, ConfigError
from tests.kafka_broker import LocalCluster

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


def settings(address: str, **security: object) -> KafkaSettings:
    return KafkaSettings.model_validate({"bootstrap_servers": address, "security": security})


def unsigned_token(subject: str, *, lives_s: int = 600) -> str:
    """A token that the broker's test validator takes."""

    def part(content: Mapping[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()

    now = time.time_ns() // 1_000_000_000
    claims = {"sub": subject, "iat": now, "exp": now + lives_s}
    return f"{part({'alg': 'none'})}.{part(claims)}."


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "clear"])
async def test_a_password_logs_in(secure_kafka: LocalCluster, mechanism: str, tls: bool) -> None:
    topic = secure_kafka.topic("texts")
    listener = "SASL_SSL" if tls else "SASL_PLAINTEXT"
    secured = secure_kafka.secured
    assert secured is not None
    kafka = settings(
        secure_kafka.address(listener),
        protocol=listener,
        ca_file=secured.ca_file if tls else None,
        sasl_mechanism=mechanism,
        username=secured.username,
        password=secured.password,
        allow_insecure=not tls,
    )
    assert (await ensure_topics(kafka, [topic]))[topic].partitions == 1


async def test_a_token_file_logs_in_and_is_read_again(
    secure_kafka: LocalCluster, tmp_path: Path
) -> None:
    topic = secure_kafka.topic("texts")
    secured = secure_kafka.secured
    assert secured is not None
    token = tmp_path / "token"
    token.write_text("not a token")
    kafka = settings(
        secure_kafka.address("SASL_SSL"),
        protocol="SASL_SSL",
        ca_file=secured.ca_file,
        sasl_mechanism="OAUTHBEARER",
        token_file=token,
    )
    with pytest.raises(BrokerError):
        await ensure_topics(kafka, [topic])
    token.write_text(unsigned_token("alice"))
    assert topic in await ensure_topics(kafka, [topic])


async def test_a_client_certificate_logs_in(secure_kafka: LocalCluster) -> None:
    topic = secure_kafka.topic("texts")
    secured = secure_kafka.secured
    assert secured is not None
    kafka = settings(
        secure_kafka.address("SSL"),
        protocol="SSL",
        ca_file=secured.ca_file,
        cert_file=secured.cert_file,
        key_file=secured.key_file,
    )
    assert topic in await ensure_topics(kafka, [topic])


async def test_a_broker_of_an_unknown_authority_is_refused(secure_kafka: LocalCluster) -> None:
    secured = secure_kafka.secured
    assert secured is not None
    kafka = settings(secure_kafka.address("SSL"), protocol="SSL")  # the system's authorities
    with pytest.raises(BrokerError) as caught:
        await ensure_topics(kafka, ["any"])
    assert "security" in str(caught.value)


async def test_a_wrong_password_fails_without_showing_it(
    secure_kafka: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    kafka = settings(
        secure_kafka.address("SASL_PLAINTEXT"),
        protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        username="alice",
        password="planted-secret",
        allow_insecure=True,
    )
    with pytest.raises(BrokerError) as caught:
        await asyncio.wait_for(ensure_topics(kafka, ["any"]), 30)
    assert "security" in str(caught.value)
    assert "planted-secret" not in caplog.text + repr(caught.value) + repr(kafka)


async def test_files_that_are_not_pem_are_a_configuration_error(tmp_path: Path) -> None:
    broken = tmp_path / "ca.pem"
    broken.write_text("nonsense")
    with pytest.raises(ConfigError, match="ca_file"):
        await ensure_topics(settings("localhost:1", protocol="SSL", ca_file=broken), ["any"])
