"""Every way to log in that the settings offer, against a broker that checks."""

import asyncio
import base64
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, UnsupportedSaslMechanismError

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.kafka.connection import connection_options
from streamlabel.consumer.kafka.diagnosis import diagnose
from streamlabel.consumer.kafka.listener import Listener
from streamlabel.consumer.kafka.tls import renew_certificates
from streamlabel.consumer.kafka.topics import ensure_topics
from streamlabel.errors import BrokerError, ConfigError
from testing.kafka_broker import LocalCluster

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
    kafka = settings(
        secure_kafka.address("SASL_SSL"),
        protocol="SASL_SSL",
        ca_file=secured.ca_file,
        sasl_mechanism="OAUTHBEARER",
        token_file=token,
    )
    with pytest.raises(BrokerError, match=r"token_file: .* cannot be read") as caught:
        await ensure_topics(kafka, [topic])
    assert caught.value.retriable  # it may be on its way
    token.write_text("not a token")
    with pytest.raises(BrokerError, match="refuses the login of the token"):
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


class Fault(NamedTuple):
    """A connection that cannot work.

    Attributes:
        server: a listener of the cluster, or an address.
        security: the settings; a word that begins with @ is the attribute of ``Secured``.
        says: what stands in the sentence besides the address.
    """

    name: str
    server: str
    security: Mapping[str, object]
    says: Sequence[str]
    is_final: bool = True


LOGIN: Mapping[str, object] = {
    "sasl_mechanism": "PLAIN",
    "username": "@username",
    "password": "@password",
}
CLEAR: Mapping[str, object] = {"protocol": "SASL_PLAINTEXT", "allow_insecure": True}
FAULTS = [
    Fault("expired", "EXPIRED", {"protocol": "SSL", "ca_file": "@ca_file"}, ["has expired"]),
    Fault(
        "wrong host",
        "ELSEWHERE",
        {"protocol": "SSL", "ca_file": "@ca_file"},
        ["another host", "advertised.listeners"],
    ),
    Fault("unknown authority", "SSL", {"protocol": "SSL"}, ["do not trust", "ca_file"]),
    Fault(
        "no client certificate",
        "SSL",
        {"protocol": "SSL", "ca_file": "@ca_file"},
        ["alert", "client certificate", "cert_file"],
    ),
    Fault(
        "expired client certificate",
        "SSL",
        {
            "protocol": "SSL",
            "ca_file": "@ca_file",
            "cert_file": "@expired_file",
            "key_file": "@expired_file",
        },
        ["alert", "cert_file"],
    ),
    Fault(
        "wrong password",
        "SASL_PLAINTEXT",
        {**CLEAR, **LOGIN, "password": "planted-secret"},
        ["refuses the login of user alice (PLAIN)"],
    ),
    Fault(
        "wrong password, SCRAM",
        "SASL_SSL",
        {
            "protocol": "SASL_SSL",
            "ca_file": "@ca_file",
            **LOGIN,
            "sasl_mechanism": "SCRAM-SHA-512",
            "password": "planted-secret",
        },
        ["refuses the login of user alice (SCRAM-SHA-512)"],
    ),
    Fault(
        "TLS on a clear port",
        "PLAINTEXT",
        {"protocol": "SSL"},
        ["does not use TLS", "to PLAINTEXT"],
    ),
    Fault(
        "TLS and login on a clear port",
        "SASL_PLAINTEXT",
        {"protocol": "SASL_SSL", **LOGIN},
        ["does not use TLS", "to SASL_PLAINTEXT"],
    ),
    Fault("clear on a TLS port", "SSL", {}, ["requires TLS", "to SSL"]),
    Fault("clear login on a TLS port", "SASL_SSL", {**CLEAR, **LOGIN}, ["TLS", "to SASL_SSL"]),
    Fault("no login", "SASL_PLAINTEXT", {}, ["requires SASL", "PLAIN, ", "to SASL_PLAINTEXT"]),
    Fault(
        "no login, TLS",
        "SASL_SSL",
        {"protocol": "SSL", "ca_file": "@ca_file"},
        ["requires SASL", "to SASL_SSL"],
    ),
    Fault(
        "login not wanted", "PLAINTEXT", {**CLEAR, **LOGIN}, ["does not use SASL", "to PLAINTEXT"]
    ),
    Fault(
        "refused",
        "localhost:1",
        {},
        ["refuses the connection", "check kafka.bootstrap_servers"],
        False,
    ),
    Fault(
        "no such host",
        "broker.invalid:9092",
        {},
        ["cannot be resolved", "check kafka.bootstrap_servers"],
        False,
    ),
]


# asyncio of Python 3.11 leaves the transport of a failed handshake to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_every_fault_of_a_connection_is_one_sentence_with_address_and_cause(
    secure_kafka: LocalCluster, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    secured = secure_kafka.secured
    assert secured is not None
    given = {
        name: getattr(secured, str(value)[1:]) if str(value).startswith("@") else value
        for name, value in fault.security.items()
    }
    address = fault.server if ":" in fault.server else secure_kafka.address(fault.server)
    began_s = time.monotonic()
    with pytest.raises(BrokerError) as caught:
        await ensure_topics(settings(address, **given), ["any"])
    assert time.monotonic() - began_s < 20  # far below on a machine of one's own
    message = str(caught.value)
    assert f"{address} " in message
    assert "\n" not in message
    for words in fault.says:
        assert words in message
    assert caught.value.retriable is not fault.is_final
    assert "planted-secret" not in caplog.text + message


async def test_a_mechanism_that_the_broker_does_not_offer_is_named_with_those_it_does(
    secure_kafka: LocalCluster,
) -> None:
    # the only mechanism of the settings that a listener of the fixture lacks is none of ours, so
    # the listener is asked as the diagnosis asks it
    listener = Listener(
        "localhost",
        int(secure_kafka.address("SASL_PLAINTEXT").rpartition(":")[2]),
        {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "GSSAPI"},
        timeout_s=10,
    )
    sentence = await listener.misfit(UnsupportedSaslMechanismError())
    assert sentence is not None
    assert sentence.startswith("offers ")
    assert "SCRAM-SHA-512" in sentence
    assert "not GSSAPI; set kafka.security.sasl_mechanism" in sentence


async def test_a_connection_that_works_has_no_cause(secure_kafka: LocalCluster) -> None:
    assert await diagnose(settings(secure_kafka.address("PLAINTEXT"))) is None


@pytest.mark.parametrize(
    ("password", "says"),
    [
        (None, "key_file is encrypted: set kafka.security.key_password"),
        ("planted-secret", "key_password does not open key_file"),
    ],
    ids=["no password", "wrong password"],
)
async def test_an_encrypted_key_never_asks_on_the_terminal(
    secure_kafka: LocalCluster, password: str | None, says: str
) -> None:
    secured = secure_kafka.secured
    assert secured is not None
    kafka = settings(
        secure_kafka.address("SSL"),
        protocol="SSL",
        ca_file=secured.ca_file,
        cert_file=secured.cert_file,
        key_file=secured.locked_key_file,
        key_password=password,
    )
    with pytest.raises(ConfigError) as caught:
        await ensure_topics(kafka, ["any"])
    assert says in str(caught.value)
    assert "planted-secret" not in str(caught.value)


async def test_an_encrypted_key_with_its_password_logs_in(secure_kafka: LocalCluster) -> None:
    topic = secure_kafka.topic("texts")
    secured = secure_kafka.secured
    assert secured is not None
    kafka = settings(
        secure_kafka.address("SSL"),
        protocol="SSL",
        ca_file=secured.ca_file,
        cert_file=secured.cert_file,
        key_file=secured.locked_key_file,
        key_password=secured.key_password,
    )
    assert topic in await ensure_topics(kafka, [topic])


@pytest.mark.parametrize("command", ["check", "run"])
async def test_a_refused_login_ends_at_once_with_the_code_of_the_broker(
    secure_kafka: LocalCluster, tmp_path: Path, command: str
) -> None:
    config = tmp_path / "streamlabel.yaml"
    config.write_text(
        json.dumps(
            {
                "kafka": {
                    "bootstrap_servers": secure_kafka.address("SASL_PLAINTEXT"),
                    "security": {**CLEAR, **LOGIN, "username": "alice", "password": "planted"},
                },
                "model": {"backend": "fake"},
                "http": {"port": 0},
            }
        )
    )
    done = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamlabel", command, "-c", str(config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        said, _ = await done.communicate()
    assert done.returncode == 4, said
    assert b"refuses the login of user alice (PLAIN)" in said
    assert b"planted" not in said


# asyncio of Python 3.11 leaves the transport of a failed handshake to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_renewed_certificate_is_used_without_a_restart(
    secure_kafka: LocalCluster, tmp_path: Path
) -> None:
    secured = secure_kafka.secured
    assert secured is not None
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    for path in (cert, key):
        path.write_bytes(secured.expired_file.read_bytes())
    kafka = settings(
        secure_kafka.address("SSL"),
        protocol="SSL",
        ca_file=secured.ca_file,
        cert_file=cert,
        key_file=key,
    )
    client = AIOKafkaClient(**await connection_options(kafka))
    try:
        with pytest.raises(KafkaConnectionError):
            await client.bootstrap()
        cert.write_bytes(secured.cert_file.read_bytes())
        key.write_text("half of a key")
        assert await asyncio.to_thread(renew_certificates) == 0, "only one of two is written"
        key.write_bytes(secured.key_file.read_bytes())
        assert await asyncio.to_thread(renew_certificates) >= 1
        await client.bootstrap()
        assert client.cluster.brokers()
        assert await asyncio.to_thread(renew_certificates) == 0, "nothing has changed since"
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("listener", "says"),
    [("EXPIRED", "shows a certificate that has expired"), ("ELSEWHERE", "for another host")],
)
async def test_a_certificate_that_nobody_should_take_ends_the_start_with_the_code_of_the_broker(
    secure_kafka: LocalCluster, tmp_path: Path, listener: str, says: str
) -> None:
    secured = secure_kafka.secured
    assert secured is not None
    config = tmp_path / "streamlabel.yaml"
    security = {"protocol": "SSL", "ca_file": str(secured.ca_file)}
    address = secure_kafka.address(listener)
    config.write_text(
        json.dumps(
            {
                "kafka": {"bootstrap_servers": address, "security": security},
                "model": {"backend": "fake"},
                "http": {"port": 0},
                "logging": {"format": "json"},
            }
        )
    )
    done = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamlabel", "run", "-c", str(config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, errors = await done.communicate()
    assert done.returncode == 4, errors
    sentences = [line for line in errors.decode().splitlines() if line.startswith("streamlabel: ")]
    assert len(sentences) == 1
    assert says in sentences[0]
    assert address in sentences[0]
