"""Kafka's own Java client, which nobody here wrote, reads what exactly once has committed."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from testing.chaos.processes import ServiceProcess
from testing.kafka_broker import Cluster, wait_until
from tests.requirements import missing

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "java" / "ReadLabels.java"
LIBRARIES = Path(os.environ.get("KAFKA_HOME", "")) / "libs"


def test_the_java_client_reads_each_committed_label_once(kafka: Cluster, tmp_path: Path) -> None:
    if shutil.which("java") is None:
        missing("java, to run Kafka's own client")
    if not LIBRARIES.is_dir():
        missing("the jars of Kafka's own client: set KAFKA_HOME")
    texts, labels, review, dead = (
        kafka.topic(name) for name in ("texts", "labels", "review", "dead")
    )
    settings = {
        "kafka": {"bootstrap_servers": kafka.bootstrap, "group_id": texts},
        "input": {"topic": texts},
        "output": {"labels_topic": labels, "review_topic": review, "dead_letter_topic": dead},
        "delivery": {"guarantee": "exactly_once"},
        "routing": {"threshold": 0.01},
        "model": {"backend": "fake"},
        "http": {"enabled": False},
    }
    config = tmp_path / "service.yaml"
    config.write_text(yaml.safe_dump(settings))
    kafka.produce(texts, [json.dumps({"text": f"0.9 Grüße {i}"}).encode() for i in range(20)])
    service = ServiceProcess(config, tmp_path / "service.log")
    try:

        def all_are_labelled() -> bool:
            assert service.is_running, service.log.read_text()[-2000:]
            return len(kafka.read(labels)) >= 20

        wait_until(all_are_labelled, what="20 labels", timeout_s=60, every_s=0.5)
    finally:
        service.close()
    done = subprocess.run(
        ["java", "-cp", f"{LIBRARIES}/*", EXAMPLE, kafka.bootstrap, labels, f"{texts}-java"],
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()[-1000:]
    lines = [line.split("\t", 2) for line in done.stdout.decode().splitlines()]
    found = [json.loads(value) for _, _, value in lines]
    ours = [json.loads(message.value() or b"") for message in kafka.read(labels)]
    assert found == ours
    assert sorted(each["source"]["offset"] for each in found) == list(range(20))
