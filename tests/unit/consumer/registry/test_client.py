"""The registry's client: it asks again whatever the registry does, and nothing is unbounded."""

import asyncio
import threading
from base64 import b64encode
from typing import Any

import pytest

from streamlabel.config.registry import RegistrySettings
from streamlabel.consumer.decode.framing import SchemaName
from streamlabel.consumer.registry.answers import Fetched, Reference, Unknown
from streamlabel.consumer.registry.client import RegistryClient
from streamlabel.errors import ConfigError
from tests.doubles import ManualClock
from tests.registry_server import Answer, RegistryServer, not_found, schema

SEVEN = SchemaName("id", "7")
PATH = "/schemas/ids/7"


async def client(server: RegistryServer, clock: ManualClock, **settings: object) -> RegistryClient:
    """Return a client; it reads certificates, so it is made outside of the loop."""
    values = {"url": server.url, "request_timeout_s": 5.0, **settings}
    section = RegistrySettings.model_validate(values)
    return await asyncio.to_thread(RegistryClient, section, is_compiled=False, clock=clock)


async def answer(
    server: RegistryServer, name: SchemaName = SEVEN, **settings: object
) -> Fetched | Unknown:
    """Return what the registry answers; waits between requests take no time."""
    clock = ManualClock()
    asking = asyncio.create_task((await client(server, clock, **settings)).schema(name))
    while not asking.done():
        await asyncio.sleep(0.01)
        if clock.sleeping:
            await clock.advance(30)
    return await asking


@pytest.fixture
def server() -> Any:  # noqa: ANN401
    """A registry that knows one schema."""
    with RegistryServer({PATH: schema('"string"')}) as running:
        yield running


async def test_a_schema_is_fetched(server: RegistryServer) -> None:
    assert await answer(server) == Fetched("AVRO", '"string"')
    assert server.requests == [PATH]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (SchemaName("guid", "g-1"), "/schemas/guids/g-1"),
        (SchemaName("id", "9"), "/schemas/ids/9"),
    ],
)
async def test_the_kind_of_id_chooses_the_path(
    server: RegistryServer, name: SchemaName, path: str
) -> None:
    server.answers[path] = schema("{}", "JSON")
    assert await answer(server, name) == Fetched("JSON", "{}")


@pytest.mark.parametrize("kind", ["global", "content"])
async def test_apicurio_answers_with_the_schema_itself(server: RegistryServer, kind: Any) -> None:  # noqa: ANN401
    server.answers[f"/ids/{kind}Ids/7"] = Answer(b'"string"')
    assert await answer(server, SchemaName(kind, "7")) == Fetched("", '"string"')


async def test_references_are_fetched_by_subject_and_version(server: RegistryServer) -> None:
    server.answers["/subjects/a%2Fb/versions/2?deleted=true"] = schema('"long"')
    found = await (await client(server, ManualClock())).reference(Reference("a", "a/b", 2))
    assert found == Fetched("AVRO", '"long"')


@pytest.mark.parametrize("code", [40403, 404])
async def test_a_registry_that_does_not_know_an_id_is_believed(
    server: RegistryServer, code: int
) -> None:
    server.answers[PATH] = not_found(code)
    assert await answer(server) == Unknown("the registry does not know it")


GOOD = schema('"string"')
BAD = {
    "500": Answer({"error_code": 50001}, 500),
    "a 404 of something else": Answer(b"<html>not here</html>", 404),
    "a redirect": Answer(b"", 302, {"location": "/elsewhere"}),
    "no answer": Answer(status=0),
    "no JSON": Answer(b"<html>hello</html>"),
    "no schema": Answer({"id": 7}),
    "a schema that is no text": Answer({"schema": {"type": "string"}}),
    "references of another structure": Answer({"schema": "1", "references": [{"name": 1}]}),
    "too many references": Answer({"schema": "1", "references": [{}] * 65}),
    "a huge answer": Answer([b"x" * 1024] * 100),
    "a compressed answer": Answer(b"\x1f\x8b", headers={"content-encoding": "gzip"}),
    "too many requests": Answer(b"", 429),
    "refused later": Answer({"error_code": 401}, 401),
}


@pytest.mark.parametrize("how", BAD)
async def test_anything_else_is_asked_again(server: RegistryServer, how: str) -> None:
    """A registry may be away for any time, and then it is there."""
    answers = iter([GOOD, BAD[how], BAD[how], BAD[how], GOOD])
    server.behave = lambda _: next(answers)
    clock = ManualClock()
    asking = await client(server, clock, max_schema_bytes=2048)
    assert isinstance(await asking.schema(SEVEN), Fetched)
    again = asyncio.create_task(asking.schema(SEVEN))
    while not again.done():
        await asyncio.sleep(0.01)
        if clock.sleeping:
            await clock.advance(30)
    assert await again == Fetched("AVRO", '"string"')
    assert len(server.requests) == 5


async def test_a_registry_that_hangs_is_bounded(server: RegistryServer) -> None:
    hold = threading.Event()
    answers = iter([Answer(after=hold), GOOD])
    server.behave = lambda _: next(answers)
    assert await answer(server, request_timeout_s=0.2) == Fetched("AVRO", '"string"')
    hold.set()


async def test_a_registry_that_answers_a_byte_at_a_time_is_bounded(server: RegistryServer) -> None:
    answers = iter([Answer([b" "] * 1000, between_s=0.05), GOOD])
    server.behave = lambda _: next(answers)
    assert await answer(server, request_timeout_s=0.3) == Fetched("AVRO", '"string"')


class SleepsAtOnce(ManualClock):
    """Time that passes as soon as somebody waits; notes the waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.waits.append(seconds)
        sleeping = asyncio.create_task(super().sleep(seconds))
        await self.advance(seconds)
        await sleeping


async def test_waits_grow_up_to_half_a_minute(server: RegistryServer) -> None:
    answers = iter([*[Answer(b"", 503)] * 8, GOOD])
    server.behave = lambda _: next(answers)
    clock = SleepsAtOnce()
    assert await (await client(server, clock)).schema(SEVEN) == Fetched("AVRO", '"string"')
    assert clock.waits == [1, 2, 4, 8, 16, 30, 30, 30]


@pytest.mark.parametrize("status", [401, 403])
async def test_wrong_credentials_at_the_start_stop_the_service(
    server: RegistryServer, status: int
) -> None:
    server.behave = lambda _: Answer({"error_code": status}, status)
    with pytest.raises(ConfigError, match="does not accept the credentials; set username"):
        await answer(server, token="secret")


async def test_credentials_are_sent(server: RegistryServer) -> None:
    await answer(server, username="u", password="p")
    await answer(server, token="t")
    basic = b64encode(b"u:p").decode()
    assert server.credentials == [f"Basic {basic}", "Bearer t"]


async def test_a_certificate_that_cannot_be_read_is_named() -> None:
    section = RegistrySettings(url="https://localhost", ca_file="/nowhere/ca.pem")
    with pytest.raises(ConfigError, match=r"input\.registry: a certificate cannot be read"):
        await asyncio.to_thread(RegistryClient, section, is_compiled=False, clock=ManualClock())
