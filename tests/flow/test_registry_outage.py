"""A registry that is away for an hour: nothing is lost, and nothing becomes a dead letter."""

import asyncio
from collections.abc import Iterator

import pytest

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.registry.opening import RegistryDecoder
from tests.doubles import ManualClock
from tests.flow.rig import Rig, rig
from tests.registry_server import Answer, RegistryServer, schema
from tests.schema_values import AVRO, POST, avro, framed

HOUR_S = 3600


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    """A registry that knows the ids 7 and 8."""
    with RegistryServer() as running:
        running.answers |= {f"/schemas/ids/{each}": schema(AVRO) for each in (7, 8)}
        yield running


def value(schema_id: int) -> bytes:
    """Return a record that the scripted model is sure of."""
    return framed(avro({**POST, "text": "0.9 hello"}), schema_id)


async def until(r: Rig, count: int, clock: ManualClock) -> None:
    """Wait, in real time, for requests over HTTP; time of the service passes slowly."""
    for _ in range(500):
        if len(r.broker.written("labels")) + len(r.broker.written("dead-letters")) >= count:
            return
        await asyncio.sleep(0.01)
        await clock.advance(0.1)
    raise AssertionError("no outcome in time")


@pytest.mark.parametrize("transactional", [False, True])
async def test_an_hour_without_the_registry(server: RegistryServer, transactional: bool) -> None:
    """Records of known ids are classified meanwhile; one with an unknown id pauses reading."""
    clock = ManualClock()
    given = InputSettings.model_validate(
        {"format": "avro", "framing": "confluent", "registry": {"url": server.url}}
    )
    decoder = RegistryDecoder(given, clock)
    async with rig(decoder=decoder, transactional=transactional) as r:
        r.broker.append("texts", value(7))
        await until(r, 1, r.clock)

        server.behave = lambda _: Answer(b"", 503)
        for _ in range(20):
            r.broker.append("texts", value(7))
        await until(r, 21, r.clock)

        for schema_id in (8, 7, 8):
            r.broker.append("texts", value(schema_id))
        await r.clock.advance(1)
        for _ in range(HOUR_S // 30):
            while not clock.sleeping:  # noqa: ASYNC110 requests over HTTP
                await asyncio.sleep(0.005)
            await clock.advance(30)
        assert len(r.broker.written("labels")) == 21
        assert len(server.requests) > 100

        server.behave = lambda _: None
        while len(r.broker.written("labels")) < 24:
            await asyncio.sleep(0.005)
            await clock.advance(30)
            await r.clock.advance(0.1)
        await r.drain()
        assert r.sources("labels") == list(range(24))
        assert r.broker.written("dead-letters") == []
        r.check_no_commit_passes_an_undelivered_record()
        assert r.committed() == 24
