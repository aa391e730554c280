"""The real service under conditions that no single record makes; see docs/guarantees.md."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import KafkaException, Producer

from testing.chaos.processes import RUN, ServiceProcess
from testing.kafka_broker import Cluster, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

MEGABYTE = 1024 * 1024

# The program, whose outputs have the time of a clock that is wrong.
TWO_HOURS_AHEAD = """
import runpy, time
from aiokafka.producer.message_accumulator import BatchBuilder
append = BatchBuilder.append
def ahead(self, *, timestamp, **fields):
    return append(self, timestamp=int(time.time() * 1000) + 7_200_000, **fields)
BatchBuilder.append = ahead
runpy.run_module("streamlabel", run_name="__main__")
"""


class World:
    """Topics of one test, and services on them."""

    def __init__(self, kafka: Cluster, folder: Path, **texts: Any) -> None:  # noqa: ANN401 of topics
        self.kafka = kafka
        self.folder = folder
        self.texts = kafka.topic("texts", **texts)
        self.labels, self.review, self.dead = (
            kafka.topic(name) for name in ("labels", "review", "dead")
        )

    @contextmanager
    def service(
        self, *, command: Sequence[str] = RUN, **sections: Mapping[str, object]
    ) -> Iterator[ServiceProcess]:
        """Run the program; sections of settings are over those of every test."""
        settings: dict[str, dict[str, Any]] = {
            "kafka": {
                "bootstrap_servers": self.kafka.bootstrap,
                "group_id": self.texts,
                "session_timeout_ms": 6000,
                "heartbeat_interval_ms": 1000,
            },
            "input": {"topic": self.texts},
            "output": {
                "labels_topic": self.labels,
                "review_topic": self.review,
                "dead_letter_topic": self.dead,
            },
            "routing": {"threshold": 0.01},
            "model": {"backend": "fake"},
            "http": {"enabled": False},
            "logging": {"format": "json"},
        }
        for name, values in sections.items():
            settings.setdefault(name, {}).update(values)
        config = self.folder / "service.yaml"
        config.write_text(yaml.safe_dump(settings))
        service = ServiceProcess(config, self.folder / "service.log", command=command)
        try:
            yield service
        finally:
            service.close()

    def wait_until_committed(self, service: ServiceProcess, next_offset: int) -> None:
        """Wait until all is done; fail at once if the service ends before."""

        def committed() -> bool:
            assert service.is_running, service.log.read_text()[-2000:]
            return self.kafka.committed(self.texts, self.texts) == next_offset

        wait_until(committed, what=f"{next_offset} is committed", timeout_s=90, every_s=0.3)

    def produce_large(self, *values: bytes, compression: str = "none") -> None:
        """Write values that are larger than producers send unless told otherwise."""
        limits = {"message.max.bytes": 400 * MEGABYTE, "compression.type": compression}
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "log_level": 0, **limits})
        failures: list[object] = []
        for value in values:
            producer.produce(
                self.texts, value=value, on_delivery=lambda error, _: failures.append(error)
            )
        assert producer.flush(60) == 0
        if error := next(filter(None, failures), None):
            raise KafkaException(error)


def get(log: str, path: str) -> tuple[int, str]:
    """Status and body of what a service answers, whose log says the port."""
    started = next(line for line in map(json.loads, log.splitlines()) if "port" in line)
    url = f"http://127.0.0.1:{started['port']}{path}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, str(answer.read(), "utf-8")
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, str(refused.read(), "utf-8")


def scrape(log: str) -> str:
    """The metrics of a service."""
    return get(log, "/metrics")[1]


def text(content: str) -> bytes:
    return json.dumps({"text": content}).encode()


def test_a_systematic_fault_stops_the_service_before_the_topic_is_drained(
    kafka: Cluster, tmp_path: Path
) -> None:
    world = World(kafka, tmp_path)
    kafka.produce(world.texts, [text("good")] * 20 + [b"not json"] * 1000)
    with world.service() as service:
        assert service.wait(60) == 5
    assert "in a row" in service.log.read_text()
    written = len(kafka.read(world.dead))
    assert written <= 100  # guard.max_consecutive
    committed = kafka.committed(world.texts, world.texts) or 0
    assert committed <= 20 + written  # the rest is there to be read when the cause is mended


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_a_compacted_output_costs_its_keyless_records_only(
    kafka: Cluster, tmp_path: Path, guarantee: str
) -> None:
    world = World(kafka, tmp_path)
    world.labels = kafka.topic("labels", cleanup_policy="compact")
    keys = [None if n % 5 == 3 else b"k%d" % n for n in range(60)]
    for n, key in enumerate(keys):
        kafka.produce(world.texts, [text(f"text {n}")], key=key)
    with world.service(delivery={"guarantee": guarantee}) as service:
        world.wait_until_committed(service, 60)
        service.terminate()
        assert service.wait(60) == 0
    labelled = [
        json.loads(message.value())["source"]["offset"] for message in kafka.read(world.labels)
    ]
    assert labelled == [n for n, key in enumerate(keys) if key is not None]
    dead = [dict(message.headers() or []) for message in kafka.read(world.dead)]
    offsets = [int(headers["streamlabel-source-offset"] or b"") for headers in dead]
    assert offsets == [n for n, key in enumerate(keys) if key is None]
    for headers in dead:
        assert headers["streamlabel-error-reason"] == b"output_refused"
        message = f"{world.labels} refuses its output: INVALID_RECORD (87); a compacted topic"
        assert (headers["streamlabel-error-message"] or b"").startswith(message.encode())


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_a_clock_two_hours_ahead_ends_the_service_alike(
    kafka: Cluster, tmp_path: Path, guarantee: str
) -> None:
    world = World(kafka, tmp_path)
    kafka.produce(world.texts, [text("good")] * 50)
    command = (sys.executable, "-c", TWO_HOURS_AHEAD, "run")
    with world.service(command=command, delivery={"guarantee": guarantee}) as service:
        assert service.wait(90) == 4
    log = service.log.read_text()
    assert f"{world.dead} refuses its output: INVALID_TIMESTAMP (32); its time is too far" in log
    assert f"Change the settings of {world.dead}" in log
    assert kafka.committed(world.texts, world.texts) is None
    assert kafka.read(world.labels) == kafka.read(world.dead) == []


def test_a_model_slower_than_a_session_does_not_cost_the_membership(
    kafka: Cluster, tmp_path: Path
) -> None:
    world = World(kafka, tmp_path)
    kafka.produce(world.texts, [text(f"slow {n}") for n in range(3)])
    slow = {"backend": "fake", "batch_s": 8.0}
    with world.service(model=slow) as service:
        world.wait_until_committed(service, 3)
        assert service.said("partitions_assigned") == 1
        assert service.said("partitions_revoked") == 0
        service.terminate()
        assert service.wait() == 0
    assert len(kafka.read(world.labels)) == 3


def test_five_megabytes_of_text_are_labelled_in_bounded_memory(
    kafka: Cluster, tmp_path: Path
) -> None:
    world = World(kafka, tmp_path, max_message_bytes=8 * MEGABYTE)
    kafka.produce(world.texts, [text("small")])
    with world.service() as service:
        world.wait_until_committed(service, 1)
        before = peak_bytes(service)
        world.produce_large(*[text("long " * MEGABYTE)] * 24)
        world.wait_until_committed(service, 25)
        after = peak_bytes(service)
    for high, low in zip(after, before, strict=True):  # the service, and its worker
        assert high - low < 100 * MEGABYTE  # less than was sent: a few records at a time
    assert len(kafka.read(world.labels)) == 25


def peak_bytes(service: ServiceProcess) -> list[int]:
    """The most memory that the service and its worker had so far."""
    processes = [service.pid, *(worker.pid for worker in service.workers())]
    status = [Path(f"/proc/{pid}/status").read_text() for pid in sorted(processes)]
    return [int(each.partition("VmHWM:")[2].split()[0]) * 1024 for each in status]


def test_a_topic_that_stores_uncompressed_refuses_a_compression_bomb(
    kafka: Cluster, tmp_path: Path
) -> None:
    world = World(kafka, tmp_path, compression_type="uncompressed")
    with pytest.raises(KafkaException, match="MSG_SIZE_TOO_LARGE"):
        world.produce_large(bytes(50 * MEGABYTE), compression="gzip")
    world.produce_large(text("fits"), compression="gzip")
    assert len(kafka.read(world.texts)) == 1


def test_a_small_compression_bomb_is_one_dead_letter_without_its_value(
    kafka: Cluster, tmp_path: Path
) -> None:
    world = World(kafka, tmp_path)
    kafka.produce(world.texts, [text("before")])
    world.produce_large(bytes(50 * MEGABYTE), compression="gzip")  # 50 kB on the wire
    kafka.produce(world.texts, [text("after")])
    with world.service() as service:
        world.wait_until_committed(service, 3)
        # the batch as it was read, and the record; nothing grows beyond that
        assert max(peak_bytes(service)) < 300 * MEGABYTE
    [dead] = kafka.read(world.dead)
    headers = dict(dead.headers() or [])
    assert dead.value() is None
    assert (headers["streamlabel-value-omitted"] or b"").startswith(b"size=52428800;")
    assert len(kafka.read(world.labels)) == 2


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_an_offset_that_is_gone_ends_the_service_and_skips_nothing(
    kafka: Cluster, tmp_path: Path, guarantee: str
) -> None:
    world = World(kafka, tmp_path)
    kafka.produce(world.texts, [text(f"{n}") for n in range(10)])
    kafka.commit(world.texts, world.texts, 2)
    kafka.drop_before(world.texts, 5)
    with world.service(delivery={"guarantee": guarantee}) as service:
        assert service.wait(60) == 4
    assert "out_of_range" in service.log.read_text()
    assert kafka.read(world.labels) == []
    assert kafka.committed(world.texts, world.texts) == 2


def test_a_drain_under_load_takes_no_longer_than_its_batch_and_restarts_behind_it(
    kafka: Cluster, tmp_path: Path
) -> None:
    world = World(kafka, tmp_path)
    kafka.produce(world.texts, [text(f"{n}") for n in range(2000)])
    pace: dict[str, Any] = {
        "model": {"backend": "fake", "batch_s": 0.2},
        "batching": {"max_batch_items": 10, "max_in_flight_items": 50},
    }
    with world.service(**pace) as service:
        wait_until(
            lambda: (kafka.committed(world.texts, world.texts) or 0) > 20, what="it is at work"
        )
        began_s = time.monotonic()
        service.terminate()
        assert service.wait() == 0
        assert time.monotonic() - began_s < 20
    labelled = len(kafka.read(world.labels))
    assert labelled < 2000
    assert kafka.committed(world.texts, world.texts) == labelled  # the next one reads none again


def test_a_worker_that_cannot_be_kept_alive_ends_the_service_with_3(
    kafka: Cluster, tmp_path: Path
) -> None:
    world = World(kafka, tmp_path)
    kafka.produce(world.texts, [text("good"), text("kills"), text("good")])
    model = {"backend": "fake", "crash_on": ""}  # also of a text of ours: no record is to blame
    with world.service(model=model, worker={"max_restarts": 1}) as service:
        assert service.wait(60) == 3
    assert kafka.committed(world.texts, world.texts) in {None, 0}
    assert kafka.read(world.dead) == []


def test_a_service_whose_worker_was_lost_is_not_ready_from_that_moment_on(
    kafka: Cluster, tmp_path: Path
) -> None:
    world = World(kafka, tmp_path)
    kafka.produce(world.texts, [text("good")])
    http = {"enabled": True, "host": "127.0.0.1", "port": 0}
    worker = {"restart_backoff_s": 3.0}
    with world.service(http=http, worker=worker) as service:
        world.wait_until_committed(service, 1)
        log = service.log

        def has_said(event: str, times: int) -> Callable[[], bool]:
            return lambda: service.said(event) == times

        assert get(log.read_text(), "/readyz")[0] == 200
        assert "streamlabel_worker_up 1.0" in scrape(log.read_text())
        # Several times: a state that is asked for every 2 s would be right by chance, too.
        for losses in (1, 2, 3):
            assert service.kill_worker()
            wait_until(has_said("worker_lost", losses), what="it is said", every_s=0.01)
            assert get(log.read_text(), "/readyz")[0] == 503
            assert "streamlabel_worker_up 0.0" in scrape(log.read_text())
            # the log has one line of the worker's supervision and one of the service
            wait_until(has_said("worker_restarted", 2 * losses), what="it is back")
            assert get(log.read_text(), "/readyz")[0] == 200
            assert "streamlabel_worker_up 1.0" in scrape(log.read_text())


def test_two_texts_that_kill_the_worker_do_not_end_the_service(
    kafka: Cluster, tmp_path: Path
) -> None:
    world = World(kafka, tmp_path)
    kafka.produce(world.texts, [text("good"), text("kills"), text("kills"), text("good")])
    model = {"backend": "fake", "crash_on": "kills"}
    worker = {"max_restarts": 1, "restart_backoff_s": 0.01}
    with world.service(model=model, worker=worker) as service:
        world.wait_until_committed(service, 4)
    assert len(kafka.read(world.labels)) + len(kafka.read(world.review)) == 2
    for letter in kafka.read(world.dead):
        headers = dict(letter.headers() or [])
        assert headers["streamlabel-error-reason"] == b"crash_suspect"
        assert b"lost 3 times while it had this text alone" in (
            headers["streamlabel-error-message"] or b""
        )


def test_a_drain_past_its_deadline_ends_with_6_and_commits_nothing_unfinished(
    kafka: Cluster, tmp_path: Path
) -> None:
    world = World(kafka, tmp_path)
    kafka.produce(world.texts, [text("good")])
    model = {"backend": "fake", "hang_on": "hangs"}
    http = {"enabled": True, "host": "127.0.0.1", "port": 0}
    with world.service(model=model, http=http, delivery={"drain_timeout_s": 1.0}) as service:
        world.wait_until_committed(service, 1)
        kafka.produce(world.texts, [text("hangs")])
        wait_until(
            lambda: "streamlabel_in_flight_records 1.0" in scrape(service.log.read_text()),
            what="it is in flight",
        )
        service.terminate()
        assert service.wait() == 6
    assert kafka.committed(world.texts, world.texts) == 1


def test_a_record_that_fails_after_every_replay_stays_a_dead_letter(
    kafka: Cluster, tmp_path: Path
) -> None:
    world = World(kafka, tmp_path)
    kafka.produce(world.texts, [text("raises")], headers=[("mine", b"1")])
    command = [
        sys.executable, "-m", "streamlabel", "dlq", "replay", "--execute", "--max-replays", "2",
        "--json", "-c", str(tmp_path / "service.yaml"),
    ]  # fmt: skip
    with world.service(model={"backend": "fake", "fail_on": "raises"}) as service:
        # offsets: the record, and twice a replay with the mark of its transaction, which is passed
        for round_number, next_offset in enumerate((1, 3, 5)):
            world.wait_until_committed(service, next_offset)
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = {
                row["verdict"]: row["dead_letters"] for row in json.loads(done.stdout)["found"]
            }
            if round_number < 2:
                assert found.pop("replay") == 1
            else:
                assert found.pop("exhausted") == 1
            assert found.pop("replayed", 0) == round_number
            assert not found
    letters = [m for m in kafka.read(world.dead) if m.value() is not None]
    dead = [m for m in letters if ("mine", b"1") in (m.headers() or [])]
    replays = [dict(m.headers() or []).get("streamlabel-replays") for m in dead]
    assert replays == [None, b"1", b"2"]
