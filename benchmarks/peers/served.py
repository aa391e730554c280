"""An aiokafka loop in front of a model server: requests of 32 texts, many at once.

Used by the scripts of the servers, in their environments.
"""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from answers import answer

# Number of concurrent requests: twice the window that Infinity sorts at a time (8 batches of 32),
# so that it always has a full window.
_AT_ONCE = 16
_START_S = 180.0

Scores = Sequence[Mapping[str, Any]]
Classify = Callable[[Sequence[str]], Awaitable[list[Scores]]]
Ask = Callable[[aiohttp.ClientSession, Sequence[str]], Awaitable[list[Scores]]]


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def serving(command: Sequence[str], **options: Any) -> Iterator[None]:  # noqa: ANN401 Popen's own
    """Run the server; SIGTERM to this process ends it too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the loop installs its own handler
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, **options)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


async def loop(bootstrap: str, source: str, output: str, *, health: str, ask: Ask) -> None:
    """Classify until killed; offsets are committed in order, after the outputs.

    Args:
        bootstrap: Kafka's addresses.
        source: topic with the texts.
        output: topic for the answers.
        health: URL that answers 200 when the server is ready.
        ask: sends texts, returns label and score of every label for each.
    """
    consumer = AIOKafkaConsumer(
        source,
        bootstrap_servers=bootstrap,
        group_id=source,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    if task := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    limits = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(timeout=limits) as session:
        await _ready(session, health)
        try:
            await consumer.start()
            await producer.start()
            await _relay(consumer, producer, lambda texts: ask(session, texts), output)
        finally:
            await consumer.stop()
            await producer.stop()


async def _relay(
    consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, classify: Classify, output: str
) -> None:
    waiting: deque[tuple[list[ConsumerRecord], asyncio.Task[None]]] = deque()
    while True:
        polled = await consumer.getmany(timeout_ms=5 if waiting else 200, max_records=32)
        records = [record for batch in polled.values() for record in batch]
        if records:
            task = asyncio.create_task(_answer(producer, output, records, classify))
            waiting.append((records, task))
        while waiting and (len(waiting) >= _AT_ONCE or waiting[0][1].done()):
            await _finish(consumer, *waiting.popleft())


async def _ready(session: aiohttp.ClientSession, health: str) -> None:
    async with asyncio.timeout(_START_S):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(health) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.2)


async def _answer(
    producer: AIOKafkaProducer,
    output: str,
    records: Sequence[ConsumerRecord],
    classify: Classify,
) -> None:
    values = [json.loads(record.value) for record in records]
    results = await classify([value["text"] for value in values])
    sends = []
    for record, value, scores in zip(records, values, results, strict=True):
        made = answer(value, scores, record.timestamp)
        sends.append(await producer.send(output, json.dumps(made).encode(), key=record.key))
    await asyncio.gather(*sends)


async def _finish(
    consumer: AIOKafkaConsumer, records: Sequence[ConsumerRecord], task: asyncio.Task[None]
) -> None:
    await task
    await consumer.commit(
        {TopicPartition(each.topic, each.partition): each.offset + 1 for each in records}
    )
