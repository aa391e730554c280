"""Client quotas of the brokers: bytes that are read and written, and time of their threads."""

import json
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from testing.kafka_broker import Cluster, wait_until
from tests.kafka.test_service import World, get, scrape

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

TEXT_BYTES = 20_000
COUNT = 150
ALL_BYTES = TEXT_BYTES * COUNT
# Kafka allows what passes in its window of ten seconds, so that 40 % are not delayed.
RATE = ALL_BYTES / 25
QUOTAS: dict[str, tuple[dict[str, float], str | None]] = {
    "producer_byte_rate": ({"producer_byte_rate": RATE}, "producer"),
    "consumer_byte_rate": ({"consumer_byte_rate": RATE}, "consumer"),
    # Percent of the time of one thread: so little that any machine is slower. Taken away once seen.
    "request_percentage": ({"request_percentage": 0.05}, None),
}


def throttled_s(log: str) -> dict[str, float]:
    """Seconds of waiting by role of the brokers."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(scrape(log)):
        for sample in family.samples:
            if sample.name == "streamlabel_kafka_throttled_seconds_total":
                found[sample.labels["role"]] = sample.value
    return found


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("quota", QUOTAS)
def test_a_quota_slows_the_service_and_nothing_else_happens(
    kafka: Cluster, tmp_path: Path, guarantee: str, quota: str
) -> None:
    rates, role = QUOTAS[quota]
    world = World(kafka, tmp_path)
    kafka.limit_client(world.texts, **rates)
    kafka.produce(world.texts, [b"w" * TEXT_BYTES] * COUNT)
    answers: list[int] = []
    with world.service(
        kafka={
            "client_id": world.texts,
            "compression": "none",
            "max_partition_fetch_bytes": 200_000,
        },
        input={"topic": world.texts, "format": "text"},
        routing={"threshold": 1.0},  # all to review, with their texts
        delivery={"guarantee": guarantee},
        http={"enabled": True, "port": 0},
    ) as service:

        def is_done() -> bool:
            assert service.is_running, service.log.read_text()[-2000:]
            if '"port"' in service.log.read_text():
                answers.append(get(service.log.read_text(), "/livez")[0])
            return kafka.committed(world.texts, world.texts) == COUNT

        def waited_s() -> float:
            log = service.log.read_text()
            return sum(throttled_s(log).values()) if '"port"' in log else 0.0

        began_s = time.monotonic()
        if role is None:
            wait_until(lambda: is_done() or waited_s() > 2, what="it is slowed", timeout_s=120)
            kafka.limit_client(world.texts, **dict.fromkeys(rates))
        wait_until(is_done, what="all is committed", timeout_s=180, every_s=0.5)
        took_s = time.monotonic() - began_s
        wait_until(lambda: waited_s() > 0, what="the metric says that it waited", timeout_s=5)
        by_role = throttled_s(service.log.read_text())
    assert role is None or by_role.get(role, 0) > 1, by_role
    assert took_s > 2
    assert len(answers) > 2
    assert set(answers) == {200}
    sources = [
        json.loads(message.value())["source"]["offset"] for message in kafka.read(world.review)
    ]
    assert sorted(sources) == list(range(COUNT))
    assert kafka.read(world.dead) == []
