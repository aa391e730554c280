"""A control topic that cannot be read does not stop the service: it is read again."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.core.records import Position, SourceRecord
from streamlabel.consumer.kafka import control_topic
from streamlabel.consumer.kafka.control_topic import ControlTopic
from streamlabel.errors import BrokerError, ConfigError
from tests.doubles import ManualClock

RECORD = SourceRecord(Position("control", 0, 7), b"k", b"v", (), 0, 0.0)


@pytest.mark.parametrize(
    "error",
    [ConfigError("it was deleted"), BrokerError("no answer", True), BrokerError("denied")],
)
async def test_a_topic_that_cannot_be_read_is_read_again(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = 0

    async def watch(*_: Any, **__: Any) -> AsyncGenerator[SourceRecord, None]:  # noqa: ANN401
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise error
        yield RECORD

    monkeypatch.setattr(control_topic, "watch", watch)
    clock = ManualClock()
    records = ControlTopic(KafkaSettings(), "control", clock).follow()
    async with aclosing(records):
        waiting = asyncio.ensure_future(anext(records))
        for _ in range(10):
            await clock.advance(5.0)
        assert await waiting == RECORD
    assert attempts == 3
