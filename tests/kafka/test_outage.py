"""An outage of the brokers is seen: gauge, readiness, one event each way; a start waits for it."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.chaos.processes import ServiceProcess
from testing.kafka_broker import LocalCluster, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

GRACE_S = 3.0
ROLES = {"consumer", "coordinator", "producer"}


class Service:
    """The program, seen through its port and its log."""

    def __init__(self, kafka: LocalCluster, folder: Path, *, guarantee: str) -> None:
        topics = {name: kafka.topic(name) for name in ("texts", "labels", "review", "dead")}
        self.input, self.labels = topics["texts"], topics["labels"]
        settings: dict[str, Any] = {
            "kafka": {
                "bootstrap_servers": kafka.bootstrap,
                "group_id": self.input,
                "session_timeout_ms": 6000,
                "heartbeat_interval_ms": 1000,
            },
            "input": {"topic": self.input},
            "output": {
                "labels_topic": topics["labels"],
                "review_topic": topics["review"],
                "dead_letter_topic": topics["dead"],
            },
            "delivery": {"guarantee": guarantee},
            "model": {"backend": "fake"},
            "routing": {"threshold": 0.01},
            "http": {"host": "127.0.0.1", "port": 0, "broker_grace_s": GRACE_S},
            "logging": {"format": "json"},
        }
        self.config, self.log = folder / "service.yaml", folder / "service.log"
        self.config.write_text(yaml.safe_dump(settings))
        self.process = ServiceProcess(self.config, self.log)

    def lines(self, event: str) -> list[Mapping[str, Any]]:
        """Its log lines of one event."""
        said = [json.loads(x) for x in self.log.read_text().splitlines() if x.startswith("{")]
        return [line for line in said if line["event"] == event]

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; 0 while nothing listens."""
        listening = self.lines("http_listening")
        if not listening:
            return 0, ""
        try:
            url = f"http://127.0.0.1:{listening[0]['port']}{path}"
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def connected(self) -> dict[str, float]:
        """The gauge by role."""
        prefix = 'streamlabel_kafka_connected{role="'
        lines = [x for x in self.get("/metrics")[1].splitlines() if x.startswith(prefix)]
        return {x.removeprefix(prefix).partition('"')[0]: float(x.split()[-1]) for x in lines}

    def wait_for(self, path: str, status: int) -> None:
        """Wait for a probe's answer; fail at once if the process ends."""

        def answers() -> bool:
            assert self.process.is_running, self.log.read_text()[-3000:]
            return self.get(path)[0] == status

        wait_until(answers, what=f"{path} is {status}", timeout_s=60)


@contextmanager
def running(kafka: LocalCluster, folder: Path, *, guarantee: str) -> Iterator[Service]:
    service = Service(kafka, folder, guarantee=guarantee)
    try:
        yield service
    finally:
        service.process.close()


@pytest.mark.parametrize(
    ("guarantee", "way"), [("exactly_once", "killed"), ("at_least_once", "hung")]
)
def test_an_outage_is_seen_while_it_lasts_and_said_once_each_way(
    own_kafka: LocalCluster, tmp_path: Path, guarantee: str, way: str
) -> None:
    with running(own_kafka, tmp_path, guarantee=guarantee) as service:
        see_an_outage(own_kafka, service, way)


def see_an_outage(own_kafka: LocalCluster, service: Service, way: str) -> None:
    service.wait_for("/readyz", 200)
    wait_until(lambda: service.connected() == dict.fromkeys(ROLES, 1.0), what="all connected")
    if way == "killed":
        own_kafka.kill()
    else:
        own_kafka.pause()
    wait_until(lambda: 0.0 in service.connected().values(), what="the gauge is 0", timeout_s=40)
    service.wait_for("/readyz", 503)
    assert "broker: no answer for" in service.get("/readyz")[1]
    assert service.get("/startupz")[0] == 200
    assert service.get("/livez")[0] == 200
    wait_until(lambda: len(service.lines("broker_lost")) == 1, what="it is said")
    if way == "killed":
        assert set(service.connected().values()) == {0.0}
        own_kafka.start_node()
    else:
        own_kafka.resume()
    own_kafka.wait_ready()
    service.wait_for("/readyz", 200)
    wait_until(lambda: len(service.lines("broker_restored")) == 1, what="its end is said")
    assert service.connected() == dict.fromkeys(ROLES, 1.0)
    own_kafka.produce(service.input, [b'{"text": "after"}'])
    wait_until(lambda: len(own_kafka.read(service.labels)) == 1, what="it works", timeout_s=60)
    assert len(service.lines("broker_lost")) == 1
    [restored] = service.lines("broker_restored")
    assert GRACE_S < restored["lasted_s"] < 120


def test_a_start_in_an_outage_has_started_when_the_model_is_loaded(
    own_kafka: LocalCluster, tmp_path: Path
) -> None:
    """Or an orchestrator would kill it again and again, and load the model each time."""
    with running(own_kafka, tmp_path, guarantee="at_least_once") as service:
        service.process.close()
        own_kafka.kill()
        service.log.unlink()
        service.process = ServiceProcess(service.config, service.log)
        service.wait_for("/startupz", 200)
        status, body = service.get("/readyz")
        assert status == 503
        assert "group: not joined" in body
        wait_until(lambda: "broker: no answer" in service.get("/readyz")[1], what="it is named")
        assert set(service.connected().values()) == {0.0}
        assert "streamlabel_worker_up 1.0" in service.get("/metrics")[1]
        assert service.lines("broker_lost") == []  # it never had one: broker_unreachable says so
        assert service.lines("broker_unreachable")
        own_kafka.start_node()
        own_kafka.wait_ready()
        service.wait_for("/readyz", 200)
        assert service.connected() == dict.fromkeys(ROLES, 1.0)
