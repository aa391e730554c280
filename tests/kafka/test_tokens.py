"""OAUTHBEARER with client credentials: a real broker, and a token endpoint that checks them."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from streamlabel.config.kafka import KafkaSettings
from streamlabel.config.security import SecuritySettings
from streamlabel.consumer.kafka.tokens import NoTokenError, TokenEndpoint
from streamlabel.consumer.kafka.topics import ensure_topics
from streamlabel.errors import BrokerError
from testing.kafka_broker import LocalCluster
from tests.kafka.test_security import unsigned_token

SECRET = "planted:secret & more"


@dataclass
class Endpoint:
    """What was asked, and what to answer: a status and a body."""

    url: str = ""
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    status: int = 200
    body: bytes | None = None
    life_s: int = 600


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    found = Endpoint()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            found.asked.append(parse_qs(body))
            given = base64.b64decode(self.headers["authorization"].removeprefix("Basic "))
            right = given == b"alice:planted%3Asecret+%26+more"
            token = {"access_token": unsigned_token("alice"), "expires_in": found.life_s}
            content = (
                found.body or json.dumps(token if right else {"error": "invalid_client"}).encode()
            )
            self.send_response(found.status if right else 401)
            if 300 <= found.status < 400:
                self.send_header("location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    found.url = f"http://127.0.0.1:{server.server_port}/token"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def security(endpoint: Endpoint, **more: object) -> SecuritySettings:
    return SecuritySettings.model_validate(
        {
            "protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "OAUTHBEARER",
            "allow_insecure": True,
            "token_endpoint": endpoint.url,
            "client_id": "alice",
            "client_secret": SECRET,
            **more,
        }
    )


@pytest.mark.kafka
@pytest.mark.timeout(180)
async def test_client_credentials_log_in_and_wrong_ones_are_one_sentence(
    secure_kafka: LocalCluster, endpoint: Endpoint
) -> None:
    topic = secure_kafka.topic("texts")
    address = secure_kafka.address("SASL_PLAINTEXT")

    def kafka(**more: object) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=address, security=security(endpoint, **more))

    assert topic in await ensure_topics(kafka(scope="kafka"), [topic])
    assert endpoint.asked[0] == {"grant_type": ["client_credentials"], "scope": ["kafka"]}
    began_s = time.monotonic()
    with pytest.raises(BrokerError) as refused:
        await ensure_topics(kafka(client_secret="another-planted-secret"), [topic])
    assert time.monotonic() - began_s < 30
    assert not refused.value.retriable, "it ends, with exit code 4"
    assert "refuses client_id and client_secret (HTTP 401, invalid_client)" in str(refused.value)
    assert "planted" not in str(refused.value)


async def test_a_token_is_asked_for_once_until_most_of_its_life_is_over(endpoint: Endpoint) -> None:
    now_s = 0.0
    tokens = TokenEndpoint(security(endpoint), now_s=lambda: now_s)
    first = await tokens.token()
    now_s = 479.0
    assert await tokens.token() == first
    assert len(endpoint.asked) == 1
    now_s = 481.0
    await tokens.token()
    assert len(endpoint.asked) == 2


@pytest.mark.parametrize(
    ("status", "body", "says", "is_final"),
    [
        (503, b"busy", "HTTP 503", False),
        (302, b"", "HTTP 302", False),
        (200, b"<html>", "answers without a token", True),
        (200, b'{"access_token": ""}', "answers without a token", True),
        (200, b"[1]", "answers without a token", True),
    ],
)
async def test_what_is_no_token_says_what_came(
    endpoint: Endpoint, status: int, body: bytes, says: str, is_final: bool
) -> None:
    endpoint.status, endpoint.body = status, body
    with pytest.raises(NoTokenError) as caught:
        await TokenEndpoint(security(endpoint)).token()
    assert says in str(caught.value)
    assert endpoint.url in str(caught.value)
    assert caught.value.is_final is is_final
    assert "planted" not in str(caught.value)


async def test_an_endpoint_that_nobody_serves_may_come_later(endpoint: Endpoint) -> None:
    gone = security(endpoint, token_endpoint="http://127.0.0.1:1/token")
    with pytest.raises(NoTokenError, match="cannot be reached") as caught:
        await TokenEndpoint(gone).token()
    assert not caught.value.is_final


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"token_file": "/token"}, "set one and not both"),
        ({"token_endpoint": None}, "set one and not both"),
        ({"client_secret": None}, "client_id, client_secret"),
        ({"allow_insecure": False, "protocol": "SASL_SSL"}, "unencrypted"),
    ],
)
def test_credentials_that_do_not_fit_say_what_to_set(
    endpoint: Endpoint, more: dict[str, object], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        security(endpoint, **more)
