"""The whole service, exactly once: killed, and paused for longer than its session."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.kafka_broker import Cluster, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

PARTITIONS = 3
PER_PARTITION = 400


class Service:
    """``streamlabel run`` with the fake model, as one member of a group."""

    def __init__(self, config: dict[str, Any], folder: Path, name: str) -> None:
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config))
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamlabel", "run", "-c", str(path)],
                stdout=log,
                stderr=log,
                start_new_session=True,  # its worker process is stopped and killed with it
            )

    def signal(self, name: signal.Signals) -> None:
        """To the service and its worker."""
        os.killpg(self.process.pid, name)

    def end(self) -> int:
        """Drain."""
        self.process.terminate()
        return self.process.wait(60)


@contextmanager
def service(config: dict[str, Any], folder: Path, name: str) -> Iterator[Service]:
    member = Service(config, folder, name)
    try:
        yield member
    finally:
        if member.process.poll() is None:
            member.signal(signal.SIGKILL)
            member.process.wait(30)


@pytest.fixture
def topics(kafka: Cluster) -> dict[str, str]:
    names = ("texts", "labels", "review", "dead-letters")
    return {name: kafka.topic(name, partitions=PARTITIONS) for name in names}


@pytest.fixture
def config(kafka: Cluster, topics: dict[str, str]) -> dict[str, Any]:
    return {
        "kafka": {
            "bootstrap_servers": kafka.bootstrap,
            "group_id": topics["texts"],
            "session_timeout_ms": 6000,
            "heartbeat_interval_ms": 1000,
        },
        "input": {"topic": topics["texts"]},
        "output": {
            "labels_topic": topics["labels"],
            "review_topic": topics["review"],
            "dead_letter_topic": topics["dead-letters"],
        },
        "model": {"backend": "fake", "batch_s": 0.05},
        "batching": {"max_batch_items": 16, "max_in_flight_items": 64},
        "delivery": {"guarantee": "exactly_once", "transaction_timeout_ms": 10_000},
        "http": {"enabled": False},
    }


def produce(kafka: Cluster, topic: str, first: int, last: int) -> None:
    for partition in range(PARTITIONS):
        values = [json.dumps({"text": f"text {n}"}).encode() for n in range(first, last)]
        kafka.produce(topic, values, partition=partition)


def processed(kafka: Cluster, topic: str) -> int:
    return sum(kafka.committed(topic, topic, number) or 0 for number in range(PARTITIONS))


def wait_processed(kafka: Cluster, topic: str, at_least: int) -> None:
    wait_until(lambda: processed(kafka, topic) >= at_least, what="progress", timeout_s=120)


def verify(kafka: Cluster, topics: dict[str, str], count: int) -> None:
    """Every input position has exactly one outcome, in order within each output partition."""
    seen: Counter[tuple[int, int]] = Counter()
    for name in ("labels", "review", "dead-letters"):
        last: dict[int, int] = {}
        for message in kafka.read(topics[name]):
            source = json.loads(message.value())["source"]
            seen[source["partition"], source["offset"]] += 1
            number = message.partition()
            assert source["partition"] == number
            assert source["offset"] > last.get(number, -1), "out of order"
            last[number] = source["offset"]
    wanted = {(number, offset) for number in range(PARTITIONS) for offset in range(count)}
    assert sorted(wanted - seen.keys()) == [], "lost"
    assert sorted(position for position, times in seen.items() if times > 1) == [], "doubled"
    assert sorted(seen.keys() - wanted) == [], "invented"


def test_a_member_paused_for_longer_than_its_session_doubles_nothing(
    kafka: Cluster, topics: dict[str, str], config: dict[str, Any], tmp_path: Path
) -> None:
    texts = topics["texts"]
    produce(kafka, texts, 0, PER_PARTITION)
    with service(config, tmp_path, "one") as one, service(config, tmp_path, "two") as two:
        wait_processed(kafka, texts, 150)
        one.signal(signal.SIGSTOP)
        wait_processed(kafka, texts, PARTITIONS * PER_PARTITION)  # the other one does it all
        one.signal(signal.SIGCONT)
        produce(kafka, texts, PER_PARTITION, PER_PARTITION + 100)
        wait_processed(kafka, texts, PARTITIONS * (PER_PARTITION + 100))
        assert one.end() == 0, one.log.read_text()[-3000:]
        assert two.end() == 0, two.log.read_text()[-3000:]
    verify(kafka, topics, PER_PARTITION + 100)


def test_a_member_killed_again_and_again_doubles_nothing(
    kafka: Cluster, topics: dict[str, str], config: dict[str, Any], tmp_path: Path
) -> None:
    texts = topics["texts"]
    produce(kafka, texts, 0, PER_PARTITION)
    with service(config, tmp_path, "stays") as stays:
        for attempt in range(3):
            with service(config, tmp_path, f"dies-{attempt}") as dies:
                target = min(processed(kafka, texts) + 120, PARTITIONS * PER_PARTITION)
                wait_processed(kafka, texts, target)
                dies.signal(signal.SIGKILL)
        wait_processed(kafka, texts, PARTITIONS * PER_PARTITION)
        assert stays.end() == 0, stays.log.read_text()[-3000:]
    verify(kafka, topics, PER_PARTITION)


def test_the_verifier_of_this_file_finds_what_at_least_once_doubles(
    kafka: Cluster, topics: dict[str, str], config: dict[str, Any], tmp_path: Path
) -> None:
    config["delivery"] = {"guarantee": "at_least_once", "commit_interval_s": 300.0}
    texts, count = topics["texts"], 100
    produce(kafka, texts, 0, count)

    def written() -> int:
        return sum(len(kafka.read(topics[name])) for name in ("labels", "review"))

    with service(config, tmp_path, "dies") as dies:
        wait_until(lambda: written() > 60, what="outputs", timeout_s=90, every_s=0.5)
        dies.signal(signal.SIGKILL)
    with service(config, tmp_path, "heir") as heir:
        wait_until(lambda: written() > PARTITIONS * count, what="more", timeout_s=90, every_s=0.5)
        assert heir.end() == 0, heir.log.read_text()[-3000:]
    with pytest.raises(AssertionError, match=r"out of order|doubled"):
        verify(kafka, topics, count)
