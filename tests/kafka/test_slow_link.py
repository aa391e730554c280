"""A broker that takes only so many bytes a second: by its quota, muted as it mutes clients."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from streamlabel.config.settings import Settings
from streamlabel.consumer.kafka.open_ports import open_ports
from streamlabel.consumer.pipeline import Pipeline
from streamlabel.consumer.plans.deployment import deploy
from streamlabel.consumer.plans.plan import Single
from streamlabel.models.core.system_clock import SystemClock
from testing.kafka_broker import Cluster, wait_until
from tests.doubles import RecordingMetrics
from tests.flow.rig import ScriptedClassifier

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

PARTITIONS = 4
BYTES_S = 750_000
REVIEW_BYTES = 200_000
COUNT = 60
in_thread = asyncio.to_thread  # the helpers of the cluster block


@asynccontextmanager
async def service(cluster: Cluster, settings: Settings) -> AsyncIterator[Pipeline]:
    clock = SystemClock()
    source, sink = open_ports(settings, clock)
    await sink.start()
    deployment = deploy(settings, ScriptedClassifier(), limit_bytes=sink.limit_bytes)
    pipeline = Pipeline(
        source=source,
        sink=sink,
        plan=Single(deployment.id),
        deployments=[deployment],
        settings=settings,
        clock=clock,
        metrics=RecordingMetrics(),
    )
    running = asyncio.create_task(pipeline.run())
    try:
        yield pipeline
        pipeline.drain()
        await running
    finally:
        running.cancel()
        await asyncio.wait([running])
        await sink.stop()


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
async def test_a_slow_link_is_used_and_nothing_is_written_twice(
    kafka: Cluster, guarantee: str
) -> None:
    """What waits takes longer than a request and a transaction may."""
    topics = [kafka.topic(n, partitions=PARTITIONS) for n in ("texts", "labels", "review", "dead")]
    texts, labels, review, dead = topics
    settings = Settings.model_validate(
        {
            "kafka": {
                "bootstrap_servers": kafka.bootstrap,
                "group_id": texts,
                "client_id": texts,
                "request_timeout_ms": 5000,
                "compression": "none",
            },
            "input": {"topic": texts, "format": "text"},
            "output": {"labels_topic": labels, "review_topic": review, "dead_letter_topic": dead},
            "model": {"backend": "fake"},
            "routing": {"threshold": 0.8},
            "delivery": {"guarantee": guarantee, "transaction_timeout_ms": 5000},
        }
    )
    for partition in range(PARTITIONS):
        sent = [b"0.5 " + b"w" * REVIEW_BYTES] * (COUNT // PARTITIONS)
        await in_thread(kafka.produce, texts, sent, partition=partition)
    await in_thread(kafka.limit_writes, texts, BYTES_S)

    def committed() -> int:
        return sum(kafka.committed(texts, texts, n) or 0 for n in range(PARTITIONS))

    async with service(kafka, settings) as pipeline:
        await in_thread(wait_until, lambda: pipeline.in_flight.items > 0, what="read", timeout_s=60)
        began_s = time.monotonic()
        await in_thread(
            wait_until, lambda: committed() == COUNT, what="all committed", timeout_s=120
        )
        took_s = time.monotonic() - began_s
    sources = [
        orjson.loads(message.value())["source"] for message in await in_thread(kafka.read, review)
    ]
    copies = Counter((source["partition"], source["offset"]) for source in sources)
    assert len(copies) == COUNT
    assert set(copies.values()) == {1}
    possible_s = COUNT * REVIEW_BYTES / BYTES_S
    assert took_s < 2 * possible_s  # it starved before
