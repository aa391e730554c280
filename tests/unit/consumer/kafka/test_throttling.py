"""What answers say about quotas: every one is counted once, by the role of the brokers."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from streamlabel.consumer.kafka import throttling
from streamlabel.consumer.kafka.throttling import note_throttling, report_throttling
from tests.doubles import RecordingMetrics


class Client:
    """Answers with what it was asked."""

    async def send(self, node: int, request: object, *, group: str = "") -> object:
        """Answer."""
        del node, group
        if isinstance(request, Exception):
            raise request
        return request


@pytest.fixture(autouse=True)
def _nothing_of_other_tests() -> Iterator[None]:
    throttling._waited.clear()
    yield
    throttling._waited.clear()


def answer(throttle_time_ms: int) -> object:
    return SimpleNamespace(throttle_time_ms=throttle_time_ms)


async def test_the_time_of_all_answers_is_counted_once() -> None:
    reading, writing, metrics = Client(), Client(), RecordingMetrics()
    note_throttling(reading, "consumer")
    note_throttling(writing, "producer")
    for client, waits_ms in ((reading, 500), (writing, 0), (writing, 1200), (reading, 250)):
        sent: Any = answer(waits_ms)
        assert await client.send(1, sent, group="x") is sent
    await reading.send(1, object())  # an answer of a version without it
    report_throttling(metrics)
    assert metrics.total("kafka_throttled_seconds", role="consumer") == 0.75
    assert metrics.total("kafka_throttled_seconds", role="producer") == 1.2
    report_throttling(metrics)
    assert metrics.total("kafka_throttled_seconds") == 1.95


async def test_an_error_stays_an_error() -> None:
    client = Client()
    note_throttling(client, "consumer")
    with pytest.raises(OSError, match="gone"):
        await client.send(1, OSError("gone"))
