"""Clients that nobody here wrote read our topics: Kafka's own in Java, KafkaJS, Kafka Connect."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from confluent_kafka import Producer
from typer.testing import CliRunner

from streamlabel.__main__ import app
from testing.chaos.processes import ServiceProcess
from testing.kafka_broker import Cluster, wait_until
from tests.requirements import missing
from tests.verdicts import a_verdict

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

EXAMPLES = Path(__file__).parents[2] / "examples"
CLIENTS = EXAMPLES / "clients"
LIBRARIES = Path(os.environ.get("KAFKA_HOME", "")) / "libs"
Written = Literal["labels", "review", "dead_letter", "verdicts"]
TOPICS: tuple[Written, ...] = ("labels", "review", "dead_letter", "verdicts")


def java() -> Sequence[str]:
    if shutil.which("java") is None:
        missing("java, to run Kafka's own client")
    if not LIBRARIES.is_dir():
        missing("the jars of Kafka's own client: set KAFKA_HOME")
    return ["java", "-cp", f"{LIBRARIES}/*", str(CLIENTS / "ReadTopic.java")]


def javascript() -> Sequence[str]:
    if shutil.which("node") is None:
        missing("node (18 or newer), to run KafkaJS")
    if not (CLIENTS / "node_modules" / "kafkajs").is_dir():
        missing("KafkaJS: make clients")
    return ["node", str(CLIENTS / "read-topic.js")]


@pytest.fixture(scope="module")
def topics(kafka: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[Written, str]:
    """The topics of a service with exactly once, each with records of it, and one taken back."""
    folder = tmp_path_factory.mktemp("clients")
    texts = kafka.topic("texts")
    found: dict[Written, str] = {name: kafka.topic(name) for name in TOPICS}
    settings = {
        "kafka": {"bootstrap_servers": kafka.bootstrap, "group_id": texts},
        "input": {"topic": texts},
        "output": {f"{name}_topic": topic for name, topic in found.items()},
        "delivery": {"guarantee": "exactly_once"},
        "routing": {"threshold": 0.8},
        "model": {"backend": "fake"},
        "http": {"enabled": False},
        "console": {"database": str(folder / "console.db")},
    }
    config = folder / "service.yaml"
    config.write_text(yaml.safe_dump(settings))
    values = [json.dumps({"text": f"Grüße {n}"}, ensure_ascii=False).encode() for n in range(16)]
    kafka.produce(texts, [*values, b"not JSON \xff"])
    service = ServiceProcess(config, folder / "service.log")

    def all_are_written() -> bool:
        assert service.is_running, service.log.read_text()[-2000:]
        outputs = (kafka.read(found[name]) for name in ("labels", "review", "dead_letter"))
        return sum(len(each) for each in outputs) == len(values) + 1

    try:
        wait_until(all_are_written, what="17 outputs", timeout_s=120, every_s=0.5)
    finally:
        service.close()
    lines = folder / "verdicts.jsonl"
    verdicts = [a_verdict(review_id=f"r{n}", id=f"r{n}") for n in range(3)]
    lines.write_bytes(b"".join(each.encoded() + b"\n" for each in verdicts))
    arguments = ["verdicts", "import", str(lines), "-f", "jsonl", "-c", str(config)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    kafka.produce(found["verdicts"], [None], key=b"r2")  # withdrawn
    for topic in found.values():
        _write_and_abort(kafka, topic)
    return found


def _write_and_abort(kafka: Cluster, topic: str) -> None:
    settings = {"bootstrap.servers": kafka.bootstrap, "transactional.id": f"aborts-{topic}"}
    producer = Producer(settings)
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, value=b"taken back", partition=0)
    producer.flush(30)
    producer.abort_transaction(30)


@pytest.mark.parametrize("client", [java, javascript])
@pytest.mark.parametrize("name", TOPICS)
def test_another_client_reads_what_was_committed_of_each_topic(
    name: Written,
    client: Callable[[], Sequence[str]],
    topics: dict[Written, str],
    kafka: Cluster,
) -> None:
    topic = topics[name]
    command = [*client(), kafka.bootstrap, topic, f"{topic}-{client.__name__}"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode()[-1000:]
    lines = [line.split("\t", 2) for line in done.stdout.decode("utf-8", "replace").splitlines()]
    found = sorted((int(partition), int(offset), value) for partition, offset, value in lines)
    ours = [
        (message.partition(), message.offset(), _shown(message.value(), client))
        for message in kafka.read(topic)
    ]
    assert found == sorted(ours)
    everything = kafka.read(topic, committed_only=False)
    assert [m.value() for m in everything].count(b"taken back") == 1  # it is there to be left out
    if name in {"labels", "review"}:
        assert len(found) > 2
        records: list[dict[str, Any]] = [json.loads(value) for _, _, value in found]
        assert {each["schema"] for each in records} == {f"streamlabel.{name.rstrip('s')}/v1"}


def _shown(value: bytes | None, client: Callable[[], Sequence[str]]) -> str:
    """Return what a client prints of a value."""
    if value is None:
        return "null" if client is java else ""
    return value.decode("utf-8", "replace")


def test_a_connect_worker_gives_each_committed_record_to_a_sink(
    topics: dict[Written, str], kafka: Cluster, tmp_path: Path
) -> None:
    java()
    classes, out = tmp_path / "classes", tmp_path / "out.jsonl"
    example, libraries = EXAMPLES / "connect", f"{LIBRARIES}/*"
    compile_ = ["javac", "-cp", libraries, "-d", str(classes), str(example / "FileSink.java")]
    subprocess.run(compile_, check=True, timeout=120)
    shutil.copytree(example / "META-INF", classes / "META-INF")
    read = [topics["labels"], topics["review"], topics["verdicts"]]
    refused = kafka.topic("refused")
    kafka.produce(read[0], [b"not JSON"])
    worker = _properties(
        example / "connect-worker.properties",
        tmp_path,
        {
            "bootstrap.servers": kafka.bootstrap,
            "offset.storage.file.filename": str(tmp_path / "offsets"),
            "listeners": f"http://127.0.0.1:{_free_port()}",
            "plugin.discovery": "service_load",
        },
    )
    sink = _properties(
        example / "file-sink.properties",
        tmp_path,
        {
            "topics": ",".join(read),
            "file": str(out),
            "errors.deadletterqueue.topic.name": refused,
        },
    )
    expected = [
        json.loads(message.value() or b"null")
        for topic in read
        for message in kafka.read(topic)
        if message.value() != b"not JSON"
    ]
    assert len(expected) == 16 + 4
    log = tmp_path / "connect.log"
    main = "org.apache.kafka.connect.cli.ConnectStandalone"
    with log.open("wb") as output:
        running = subprocess.Popen(
            ["java", "-cp", f"{libraries}:{classes}", main, str(worker), str(sink)],
            stdout=output,
            stderr=output,
        )

    def all_are_there() -> bool:
        assert running.poll() is None, log.read_text()[-2000:]
        lines = out.read_text().splitlines() if out.exists() else []
        return len(lines) >= len(expected) and len(kafka.read(refused)) >= 1

    try:
        wait_until(all_are_there, what="20 records in the sink", timeout_s=120, every_s=0.5)
    finally:
        running.terminate()
        running.wait(60)
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(map(_ordered, found)) == sorted(map(_ordered, expected))
    assert [message.value() for message in kafka.read(refused)] == [b"not JSON"]


def _ordered(record: Any) -> str:  # noqa: ANN401 any JSON
    return json.dumps(record, sort_keys=True)


def _properties(source: Path, folder: Path, changed: dict[str, str]) -> Path:
    """Return a copy of a file of properties, in which some have other values."""
    lines = source.read_text().splitlines()
    kept = [line for line in lines if line.partition("=")[0] not in changed]
    copy = folder / source.name
    copy.write_text("\n".join([*kept, *(f"{name}={value}" for name, value in changed.items())]))
    return copy


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
