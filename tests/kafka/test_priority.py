"""Input topics with weights on a real broker, where aiokafka's fetcher decides what is there."""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from testing.chaos.processes import ServiceProcess
from testing.kafka_broker import Cluster, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

RECORDS = 1200  # of each topic


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_topics_with_a_backlog_are_admitted_in_proportion_to_their_weights(
    kafka: Cluster, tmp_path: Path, guarantee: str
) -> None:
    """The topic with four partitions has the smaller weight, and came first."""
    bulk, live = kafka.topic("bulk", partitions=4), kafka.topic("live")
    labels, review, dead = (kafka.topic(name) for name in ("labels", "review", "dead"))
    for n in range(4):
        texts = [json.dumps({"text": f"bulk {n} {i}"}).encode() for i in range(RECORDS // 4)]
        kafka.produce(bulk, texts, partition=n)
    kafka.produce(live, [json.dumps({"text": f"live {i}"}).encode() for i in range(RECORDS)])
    settings = {
        "kafka": {"bootstrap_servers": kafka.bootstrap, "group_id": bulk},
        "input": {"topics": [{"name": bulk, "weight": 1}, {"name": live, "weight": 3}]},
        "output": {"labels_topic": labels, "review_topic": review, "dead_letter_topic": dead},
        "delivery": {"guarantee": guarantee},
        "routing": {"threshold": 0.01},
        # so slow that the model sets the pace
        "model": {"backend": "fake", "batch_s": 0.05},
        "batching": {"max_batch_items": 32, "max_in_flight_items": 128},
        "http": {"enabled": False},
        "logging": {"format": "json"},
    }
    config = tmp_path / "service.yaml"
    config.write_text(yaml.safe_dump(settings))
    service = ServiceProcess(config, tmp_path / "service.log")
    try:

        def all_are_labelled() -> bool:
            assert service.is_running, service.log.read_text()[-2000:]
            return kafka.ends(labels)[0] >= 2 * RECORDS

        wait_until(all_are_labelled, what="all are labelled", timeout_s=90, every_s=0.5)
    finally:
        service.close()
    # One output partition: its order is that of the deliveries.
    sources = [json.loads(message.value())["source"] for message in kafka.read(labels)]
    shared = Counter(source["topic"] for source in sources[200:1200])
    # 0.75 but for the credit of a topic whose fetch was late (500 records); 0.2 by partitions, and
    # 0.5 by topics without weights.
    assert 0.65 < shared[live] / shared.total() < 0.9
    for topic in (bulk, live):
        for n in range(4):
            offsets = [s["offset"] for s in sources if (s["topic"], s["partition"]) == (topic, n)]
            assert offsets == sorted(set(offsets))  # strict order per partition
