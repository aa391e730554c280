"""Input topics by name and pattern on a real broker, each with a format and tasks of its own."""

import json
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.chaos.processes import RUN, ServiceProcess
from testing.kafka_broker import Cluster, wait_until
from tests.schema_values import AVRO, POST, avro, framed

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

FAKE: Mapping[str, Any] = {"model": {"backend": "fake"}, "routing": {"threshold": 0.01}}


def as_json(texts: list[str]) -> list[bytes]:
    return [json.dumps({"text": text}).encode() for text in texts]


def test_topics_of_a_pattern_are_read_also_when_they_come_later(
    kafka: Cluster, tmp_path: Path
) -> None:
    """Avro by name; JSON by pattern, with one task only; the outputs match the pattern, too."""
    chat = f"chat-{uuid.uuid4().hex[:8]}"
    posts, first = kafka.topic("posts"), kafka.topic(f"{chat}-a", partitions=2)
    labels, review, dead = (kafka.topic(f"{chat}-{name}") for name in ("labels", "review", "dead"))
    (tmp_path / "post.avsc").write_text(AVRO)
    config = tmp_path / "service.yaml"
    settings: dict[str, Any] = {
        "kafka": {
            "bootstrap_servers": kafka.bootstrap,
            "group_id": posts,
            "metadata_max_age_ms": 500,
        },
        "input": {
            "topics": [
                {
                    "name": posts,
                    "format": "avro",
                    "framing": "confluent",
                    "schema_files": {"7": "post.avsc"},
                },
                {"pattern": f"{chat}-.*", "tasks": ["topic"], "weight": 2},
            ]
        },
        "output": {"labels_topic": labels, "review_topic": review, "dead_letter_topic": dead},
        "tasks": {"topic": FAKE, "tone": FAKE},
        "http": {"enabled": False},
        "logging": {"format": "json"},
    }
    config.write_text(yaml.safe_dump(settings))
    kafka.produce(posts, [framed(avro({**POST, "text": f"0.9 post {i}"})) for i in range(5)])
    kafka.produce(first, as_json([f"0.9 a {i}" for i in range(5)]))
    checked = subprocess.run(
        [*RUN[:-1], "check", "-c", str(config)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
    assert f"1 topic(s): {first}" in checked.stdout
    assert f"sample {posts}" in checked.stdout
    assert "text string (10 characters), tags array (2), metadata {user number," in checked.stdout
    assert f"sample {first}" in checked.stdout
    taken = "taken: text 7 characters from text; id from the position"
    assert f"json: text string (7 characters); {taken}" in checked.stdout
    assert "0.9 post" not in checked.stdout
    assert "0.9 a " not in checked.stdout
    service = ServiceProcess(config, tmp_path / "service.log")
    try:

        def wait_for(results: int) -> None:
            def all_are_labelled() -> bool:
                assert service.is_running, service.log.read_text()[-3000:]
                return sum(kafka.ends(labels).values()) >= results

            wait_until(all_are_labelled, what=f"{results} labels", timeout_s=60, every_s=0.2)

        wait_for(5 * 2 + 5)
        later = kafka.topic(f"{chat}-b")
        kafka.produce(later, as_json([f"0.9 b {i}" for i in range(5)]))
        kafka.produce(first, as_json([f"0.9 a again {i}" for i in range(5)]))
        wait_for(5 * 2 + 5 + 10)
    finally:
        service.close()
    found = [json.loads(message.value()) for message in kafka.read(labels)]
    by_topic: dict[str, list[tuple[str, int, int]]] = {}
    for each in found:
        source = each["source"]
        place = (each["task"], source["partition"], source["offset"])
        by_topic.setdefault(source["topic"], []).append(place)
    assert {topic: len(set(places)) for topic, places in by_topic.items()} == {
        posts: 10,
        first: 10,
        later: 5,
    }
    assert all(len(set(places)) == len(places) for places in by_topic.values())
    assert {task for task, _, _ in by_topic[posts]} == {"topic", "tone"}
    assert {task for task, _, _ in by_topic[first] + by_topic[later]} == {"topic"}
    assert not any(kafka.ends(dead).values())
