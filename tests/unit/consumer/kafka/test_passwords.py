"""Passwords from a file: read for new clients, renewed in those that exist, never shown."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.client import AIOKafkaClient
from structlog.testing import capture_logs

from streamlabel.config.kafka import KafkaSettings
from streamlabel.config.security import SecuritySettings
from streamlabel.consumer.kafka import passwords
from streamlabel.consumer.kafka.connection import connection_options
from streamlabel.consumer.kafka.passwords import keep_password, renew_passwords, watch_passwords
from streamlabel.errors import ConfigError
from tests.doubles import ManualClock

pytestmark = pytest.mark.may_block(reason="the tests write the files")


def security(**password: object) -> SecuritySettings:
    return SecuritySettings.model_validate(
        {"protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-256", "username": "u", **password}
    )


@pytest.fixture(autouse=True)
def _no_clients_of_other_tests() -> Iterator[None]:
    passwords._KNOWN.clear()
    yield
    passwords._KNOWN.clear()


async def client_of(settings: SecuritySettings) -> AIOKafkaClient:
    options = await connection_options(
        KafkaSettings(bootstrap_servers="localhost:1", group_id="g", security=settings)
    )
    client = AIOKafkaClient(**options)
    keep_password(client, settings, options.get("sasl_plain_password"))
    return client


async def test_a_new_client_has_the_password_of_the_file_without_its_line_end(
    tmp_path: Path,
) -> None:
    file = tmp_path / "password"
    file.write_text(" pass wörd \r\n", "utf-8")
    client = await client_of(security(password_file=file))
    assert client._sasl_plain_password == " pass wörd "


async def test_clients_get_a_changed_password_and_those_of_the_settings_keep_theirs(
    tmp_path: Path,
) -> None:
    file = tmp_path / "password"
    file.write_text("one")
    clients = [await client_of(security(password_file=file)) for _ in range(2)]
    other = await client_of(security(password="fixed"))
    assert await renew_passwords() == 0
    file.write_text("two")
    assert await renew_passwords() == 2
    assert [client._sasl_plain_password for client in clients] == ["two", "two"]
    assert other._sasl_plain_password == "fixed"
    assert await renew_passwords() == 0


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe", b"x" * 5000])
async def test_a_file_that_is_unusable_for_a_while_changes_nothing_and_is_said(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "password"
    file.write_text("one")
    client = await client_of(security(password_file=file))
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with capture_logs() as logs:
        assert await renew_passwords() == 0
    assert client._sasl_plain_password == "one"
    [line] = logs
    assert line["event"] == "password_not_renewed"
    assert "kafka.security.password_file" in line["why"]
    with pytest.raises(ConfigError, match=r"kafka\.security\.password_file") as caught:
        await client_of(security(password_file=file))
    assert "xx" not in str(caught.value)


async def test_the_service_looks_every_few_seconds_and_says_no_password(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("one")
    client = await client_of(security(password_file=file))
    file.write_text("secret-two")
    clock = ManualClock()
    with capture_logs() as logs:
        watching = asyncio.ensure_future(watch_passwords(clock))
        await clock.advance(5)
        while not logs:  # noqa: ASYNC110 a thread reads the file
            await asyncio.sleep(0.01)
        watching.cancel()
    assert client._sasl_plain_password == "secret-two"
    assert [line["event"] for line in logs] == ["password_renewed"]
    assert "secret" not in str(logs)


async def test_a_closed_client_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("one")
    client = await client_of(security(password_file=file))
    assert len(passwords._KNOWN) == 1
    del client
    assert len(passwords._KNOWN) == 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"password": "p", "password_file": "f"}, "password, password_file: set one and not both"),
        ({}, "set both, or username and password_file"),
        ({"password_file": "f", "username": None}, "set both, or username and password_file"),
    ],
)
def test_a_contradiction_is_one_sentence(given: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        security(**given)
