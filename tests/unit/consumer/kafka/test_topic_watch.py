"""The topic is watched for as long as the service runs, whatever the network does."""

import asyncio
import contextlib
import socket
import ssl
from types import SimpleNamespace

import pytest
from aiokafka import errors as kafka

from streamlabel.consumer.kafka import topic_watch as kafka_topic_watch
from streamlabel.consumer.kafka.topic_watch import TopicWatch

FAILURES = [
    kafka.NodeNotReadyError("no broker is known"),
    kafka.KafkaConnectionError("closed"),
    kafka.RequestTimedOutError(),
    kafka.UnknownError(),
    ConnectionResetError("reset"),
    BrokenPipeError("broken"),
    socket.gaierror(-3, "Temporary failure in name resolution"),
    ssl.SSLError("alert"),
    OSError(113, "No route to host"),
    TimeoutError(),
]


class Client:
    """As much of aiokafka's as the watch asks, with a topic that it knows."""

    cluster = SimpleNamespace(partitions_for_topic=lambda _topic: {0})

    def force_metadata_update(self) -> None:
        """Not needed."""


@pytest.mark.parametrize("failure", FAILURES, ids=lambda error: type(error).__name__)
async def test_a_look_that_fails_is_not_the_last_one(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(("a", failure, failure, "b"))

    async def find_topic_id(_client: object, _topic: str) -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(kafka_topic_watch, "find_topic_id", find_topic_id)
    noticed = asyncio.Event()
    watch = TopicWatch(Client(), "texts", every_s=0.001, on_another=noticed.set)
    watching = asyncio.create_task(watch.run())
    try:
        waiting = asyncio.create_task(noticed.wait())
        await asyncio.wait([waiting, watching], timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert noticed.is_set(), "it no longer looks"
        assert watch.identity.current == "b"
    finally:
        watching.cancel()
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError, StopIteration, RuntimeError):
            await watching
