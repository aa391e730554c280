"""The order of outputs while the sink learns how large a batch the topic takes."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer import kafka_sink
from streamlabel.consumer.kafka_sink import KafkaSink
from streamlabel.consumer.ports import Outbound
from streamlabel.consumer.records import Position, TopicPartition
from streamlabel.consumer.topics import Topic

TAKES_BYTES = 100_000  # of one batch; the sink is not allowed to read it


class Builder:
    """Collects what a batch holds; a double of a class without interface."""

    def __init__(self) -> None:
        self.values: list[bytes] = []

    def append(self, *, value: bytes, **_: object) -> object:
        """It always fits."""
        self.values.append(value)
        return object()

    def size(self) -> int:
        """Of the values."""
        return sum(len(value) for value in self.values)

    def close(self) -> None:
        """Nothing to do."""


class Producer:
    """Answers each batch some rounds of the loop later, and never more than one at a time."""

    def __init__(self, written: list[bytes]) -> None:
        self._written = written

    def create_batch(self) -> Builder:
        """Return an empty one."""
        return Builder()

    async def send_batch(self, batch: Builder, *_: object, **__: object) -> "asyncio.Future[Any]":
        """Queue it."""
        return asyncio.ensure_future(self._answer(batch))

    async def _answer(self, batch: Builder) -> None:
        await asyncio.sleep(0)
        if batch.size() > TAKES_BYTES:
            raise MessageSizeTooLargeError
        self._written += batch.values


async def test_a_batch_that_is_refused_is_not_overtaken_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A producer without a past has no numbering that would make the broker refuse the next."""
    written: list[bytes] = []

    async def start(*_: object, **__: object) -> Producer:
        return Producer(written)

    async def abandon(_: object) -> None:
        pass

    monkeypatch.setattr(kafka_sink, "start_producer", start)
    monkeypatch.setattr(kafka_sink, "abandon", abandon)
    sink = KafkaSink(KafkaSettings(), ["labels"])
    sink._topics = {"labels": Topic("labels", 1)}
    outputs = [
        Outbound("labels", None, b"%03d" % n + b"x" * 20_000, (), Position("texts", 0, n))
        for n in range(30)
    ]
    await sink.deliver(TopicPartition("texts", 0), outputs, 30)
    assert [int(value[:3]) for value in written] == list(range(30))
