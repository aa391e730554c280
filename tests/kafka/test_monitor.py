"""``streamlabel monitor`` on a real Kafka: verdicts of a topic, metrics, stricter thresholds."""

import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

from streamlabel.config.kafka import KafkaSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.control.messages import Order, read
from streamlabel.learning.ledger import verdicts_of_topic
from streamlabel.models.core.system_clock import SystemClock
from testing.kafka_broker import Cluster, wait_until
from tests.unit.learning.test_monitor import FILE, LABELS, verdict

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

KEY = "a secret of the test group"


def values(numbers: range, *, every: int) -> list[bytes]:
    return [verdict(number, right=number % every > 0).encoded() for number in numbers]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        found: int = listening.getsockname()[1]
        return found


async def test_the_verdicts_of_a_topic_are_the_last_ones_and_none_that_were_withdrawn(
    kafka: Cluster,
) -> None:
    topic = kafka.topic("verdicts", partitions=2)
    kafka.produce(topic, values(range(0, 6, 2), every=10), partition=0)
    kafka.produce(topic, values(range(1, 6, 2), every=10), partition=1)
    kafka.produce(topic, values(range(2, 3), every=1), partition=0)
    kafka.produce(topic, [None], key=b"r4", partition=0)
    kafka.produce(topic, [b"no verdict"], key=b"x", partition=1)
    settings = KafkaSettings(bootstrap_servers=kafka.bootstrap)
    found = await verdicts_of_topic(settings, topic, SystemClock())
    assert sorted(found.verdicts) == ["r0", "r1", "r2", "r3", "r5"]
    assert found.verdicts["r2"].action == "correct"
    assert found.unread == 1


def test_a_monitor_that_follows_shows_an_alarm_and_deploys_stricter_thresholds(
    kafka: Cluster, tmp_path: Path
) -> None:
    topic, port = kafka.topic("verdicts", partitions=2), free_port()
    FILE.write(tmp_path / "calibration.yaml")
    config = {
        "kafka": {"bootstrap_servers": kafka.bootstrap, "group_id": topic, "create_topics": True},
        "model": {"backend": "fake", "labels": LABELS},
        "routing": {"calibration": "calibration.yaml"},
        "control": {"topic": f"{topic}-control", "key": KEY},
        "http": {"host": "127.0.0.1", "port": port},
    }
    path = tmp_path / "streamlabel.yaml"
    path.write_text(yaml.safe_dump(config))
    settings = Settings.model_validate({**config, "routing": {}})
    assert settings.control.key is not None
    command = ["monitor", "-c", str(path), "--topic", topic, "--follow", "--tighten", "deploy"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlabel", *command],
            stdout=log,
            stderr=log,
            env={**os.environ, "NO_COLOR": "1"},
        )
    try:
        kafka.produce(topic, values(range(300), every=4))

        def metrics() -> str:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
                    return str(page.read().decode())
            except OSError:
                return ""

        alarm = 'streamlabel_promise_alarm{label="",task=""} 1.0'
        wait_until(lambda: alarm in metrics(), what="the alarm is a metric", timeout_s=120)
        assert 'streamlabel_promise_audits{label="ham",task=""}' in metrics()
        orders: list[Order] = []

        def ordered() -> bool:
            for message in kafka.read(f"{topic}-control"):
                order = read(message.value(), settings.control.key)  # type: ignore[arg-type]  # is set
                if isinstance(order, Order):
                    orders.append(order)
            return bool(orders)

        wait_until(ordered, what="stricter thresholds are deployed", timeout_s=60)
        sections = orders[0].sections or {}
        assert sections["routing"]["thresholds"] == {"ham": 0.9, "spam": 0.97}
        assert process.poll() is None
        assert json.dumps(sections).count("calibration.yaml") == 1
    finally:
        process.terminate()
        process.wait(timeout=30)
