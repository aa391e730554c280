"""SIGHUP swaps the models of a running service on a real Kafka; a wrong one changes nothing."""

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.kafka_broker import Cluster, wait_until
from tests.kafka.test_service import World, scrape

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

LABELS = (["a", "b", "c"], ["d", "e"], ["f", "g", "h", "i"])
RECORDS = 300


def change(world: World, **sections: dict[str, Any]) -> None:
    config = world.folder / "service.yaml"
    settings = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**settings, **sections}))


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_sighup_swaps_models_and_loses_nothing(
    guarantee: str, kafka: Cluster, tmp_path: Path
) -> None:
    world = World(kafka, tmp_path)
    sent = 0

    def send() -> None:
        nonlocal sent
        texts = [json.dumps({"text": f"text {sent + n}"}).encode() for n in range(RECORDS)]
        kafka.produce(world.texts, texts)
        sent += RECORDS

    http = {"enabled": True, "host": "127.0.0.1", "port": 0}
    with world.service(delivery={"guarantee": guarantee}, http=http) as service:
        send()
        world.wait_until_committed(service, sent)
        for number, labels in enumerate(LABELS[1:], start=1):
            change(world, model={"backend": "fake", "labels": labels, "batch_s": 0.05})
            send()
            os.kill(service.pid, signal.SIGHUP)
            wait_until(
                lambda number=number: service.said("deployment_active") == number,  # type: ignore[misc]
                what="the swap is done",
                timeout_s=60,
            )
            send()
        change(world, model={"backend": "encoder", "path": str(tmp_path / "missing")})
        os.kill(service.pid, signal.SIGHUP)
        wait_until(lambda: service.said("deployment_refused") == 1, what="it is refused")
        (tmp_path / "service.yaml").write_text("model: {backend: fak}")
        os.kill(service.pid, signal.SIGHUP)
        wait_until(lambda: service.said("reload_failed") == 1, what="it is not read")
        send()
        world.wait_until_committed(service, sent)
        page = scrape(service.log.read_text())
        service.terminate()
        assert service.wait() == 0
    assert 'streamlabel_swaps_total{outcome="swapped"} 2.0' in page
    assert 'streamlabel_swaps_total{outcome="refused"} 2.0' in page
    assert "streamlabel_worker_up 1.0" in page
    messages = [json.loads(message.value()) for message in kafka.read(world.labels)]
    offsets = [message["source"]["offset"] for message in messages]
    assert sorted(set(offsets)) == list(range(sent)), "nothing is lost"
    assert len(offsets) == sent, "nothing is doubled: no process was killed"
    by_deployment: dict[str, set[str]] = {}
    for message in messages:
        of = by_deployment.setdefault(message["model"]["deployment_id"], set())
        of.update(message["probabilities"])
    assert sorted(map(sorted, by_deployment.values())) == sorted(map(sorted, LABELS))
    used = Counter(message["model"]["deployment_id"] for message in messages)
    assert min(used.values()) >= RECORDS
