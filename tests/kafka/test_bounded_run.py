"""A range of a topic is read to its end, and the run ends by itself."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from confluent_kafka import Producer
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.config.settings import Settings
from streamlabel.consumer import bounded_run
from streamlabel.consumer.bounded_run import Summary, run_range
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.delivery.time_range import TimeRange
from streamlabel.consumer.kafka.open_ports import KafkaSource
from streamlabel.errors import BrokerError
from streamlabel.models.core.system_clock import SystemClock
from testing.chaos.processes import ServiceProcess
from testing.kafka_broker import Cluster, wait_until
from tests.doubles import RecordingListener

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

SINCE_MS = SystemClock().epoch_ms() - 3_600_000
UNTIL_MS = SINCE_MS + 600_000
BOTH = pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])


class World:
    """An input topic, and runs over it."""

    def __init__(self, kafka: Cluster, guarantee: str, *, partitions: int = 4) -> None:
        self.kafka = kafka
        self.texts = kafka.topic("texts", partitions=partitions)
        self.labels, self.review, self.dead = (
            kafka.topic(name) for name in ("labels", "review", "dead")
        )
        self._guarantee = guarantee

    def values(self, **model: object) -> dict[str, object]:
        """The settings of a run."""
        return {
            "kafka": {
                "bootstrap_servers": self.kafka.bootstrap,
                "group_id": f"{self.texts}-backfill",
                "session_timeout_ms": 6000,
                "heartbeat_interval_ms": 500,
            },
            "input": {"topic": self.texts, "out_of_range": "earliest"},
            "output": {
                "labels_topic": self.labels,
                "review_topic": self.review,
                "dead_letter_topic": self.dead,
            },
            "delivery": {"guarantee": self._guarantee, "commit_interval_s": 0.2},
            "routing": {"threshold": 0.01},
            "model": {"backend": "fake", **model},
            "batching": {"max_batch_items": 8, "max_in_flight_items": 64},
            "http": {"enabled": False},
            "logging": {"format": "json"},
        }

    async def run(
        self, wanted: TimeRange, *, stop: asyncio.Event | None = None, **model: object
    ) -> Summary:
        """Run to the end, or until stopped."""
        settings = Settings.model_validate(self.values(**model))
        async with asyncio.timeout(60):
            return await run_range(settings, wanted, stop=stop or asyncio.Event())

    def produce(
        self, count: int, partition: int, *, at_ms: int, transaction: str | None = None
    ) -> None:
        """Write texts with time stamps from ``at_ms`` on; ``transaction``: commit or abort."""
        more = {"transactional.id": f"{self.texts}-{at_ms}-{partition}"} if transaction else {}
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "log_level": 0, **more})
        if transaction:
            producer.init_transactions(30)
            producer.begin_transaction()
        for number in range(count):
            value = json.dumps({"text": f"text {number}"}).encode()
            producer.produce(self.texts, value, partition=partition, timestamp=at_ms + number)
        if transaction == "commit":
            producer.commit_transaction(30)
        elif transaction == "abort":
            producer.abort_transaction(30)
        assert producer.flush(30) == 0

    def outputs(self) -> Counter[tuple[int, int]]:
        """How often each input record is on the labels topic, by partition and offset."""
        sources = [json.loads(each.value())["source"] for each in self.kafka.read(self.labels)]
        return Counter((source["partition"], source["offset"]) for source in sources)


def ids(partition: int, offsets: Sequence[int]) -> Counter[tuple[int, int]]:
    return Counter((partition, offset) for offset in offsets)


@BOTH
async def test_a_range_ends_whatever_is_at_its_edges(kafka: Cluster, guarantee: str) -> None:
    """Earlier and later records, none at all, markers, aborted and deleted records."""
    world = World(kafka, guarantee, partitions=5)
    world.produce(20, 0, at_ms=SINCE_MS - 1000)
    world.produce(30, 0, at_ms=SINCE_MS)
    world.produce(10, 0, at_ms=UNTIL_MS)
    # partition 1 is empty
    world.produce(10, 2, at_ms=SINCE_MS, transaction="commit")
    world.produce(5, 2, at_ms=SINCE_MS + 100, transaction="abort")
    world.produce(25, 3, at_ms=SINCE_MS)
    kafka.drop_before(world.texts, 15, partition=3)
    world.produce(25, 4, at_ms=SINCE_MS)
    kafka.drop_before(world.texts, 25, partition=4)
    wanted = TimeRange(SINCE_MS, UNTIL_MS)
    summary = await world.run(wanted)
    assert summary.is_complete
    expected = ids(0, range(20, 50)) + ids(2, range(10)) + ids(3, range(15, 25))
    assert world.outputs() == expected
    read = {each: count["read"] for each, count in summary.partitions.items() if count["read"]}
    assert read == {
        TopicPartition(world.texts, partition): count
        for partition, count in ((0, 30), (2, 10), (3, 10))
    }
    assert sum(count["labels"] for count in summary.partitions.values()) == 50
    if guarantee == "exactly_once":
        return  # the rest is the same with both
    again = await world.run(wanted)
    assert again.is_complete
    assert not any(count["read"] for count in again.partitions.values())
    with pytest.raises(BrokerError, match=r"belong to a run over the range .*another --group"):
        await world.run(TimeRange(SINCE_MS - 500, UNTIL_MS))
    assert world.outputs() == expected


@BOTH
def test_a_run_that_is_killed_continues_to_the_same_end(
    kafka: Cluster, tmp_path: Path, guarantee: str
) -> None:
    world = World(kafka, guarantee, partitions=3)
    for partition in range(3):
        world.produce(80, partition, at_ms=SINCE_MS)
    config = tmp_path / "service.yaml"  # that of a service, which must not be disturbed
    config.write_text(yaml.safe_dump(world.values(batch_s=0.05) | {"output": {}}))
    command = [sys.executable, "-m", "streamlabel", "run", "--from", "oldest", "--until", "now"]
    command += ["--group", f"{world.texts}-past", "--json"]
    topics = (("labels", world.labels), ("review", world.review), ("dead_letter", world.dead))
    for name, topic in topics:
        command += ["--set", f"output.{name}_topic={topic}"]

    def started() -> ServiceProcess:
        return ServiceProcess(config, tmp_path / "service.log", command=command)

    first = started()
    try:
        wait_until(lambda: sum(kafka.ends(world.labels).values()) > 40, what="some are labelled")
        if guarantee == "exactly_once":
            first.kill()
        else:
            first.terminate()
            assert first.wait(60) == 7
    finally:
        first.close()
    before = world.outputs().total()
    assert before < 240
    for partition in range(3):  # after the end that was fixed
        world.produce(5, partition, at_ms=UNTIL_MS)
    second = started()
    try:
        assert second.wait(90) == 0, second.log.read_text()[-3000:]
    finally:
        second.close()
    outputs_now = world.outputs()
    assert outputs_now.keys() == {(p, n) for p in range(3) for n in range(80)}
    if guarantee == "exactly_once":
        assert max(outputs_now.values()) == 1
    summary = json.loads((tmp_path / "service.log").read_text().splitlines()[-1])
    assert summary["complete"]
    assert summary["read"] == 240 - before
    assert summary["labels"] == 240 - before
    assert kafka.committed(f"{world.texts}-backfill", world.texts) is None
    sides = [world.labels, world.labels]
    compared = CliRunner().invoke(app, ["compare", *sides, "-c", str(config), "--json"])
    assert compared.exit_code == 0, compared.output
    found = json.loads(compared.stdout)
    assert (found["records"], found["agreement"]) == (240, 1.0)


async def test_members_end_together_and_take_over_from_one_that_leaves(kafka: Cluster) -> None:
    world = World(kafka, "exactly_once", partitions=4)
    for partition in range(4):
        await asyncio.to_thread(world.produce, 40, partition, at_ms=SINCE_MS)
    leaves, stays = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        members = [
            group.create_task(world.run(TimeRange(None, None), stop=stop, batch_s=batch_s))
            for stop, batch_s in ((leaves, 1.0), (stays, 0.1))  # so the first one is not done
        ]
        await asyncio.to_thread(
            wait_until, lambda: sum(kafka.ends(world.labels).values()) > 20, what="some are done"
        )
        leaves.set()
    assert [member.result().is_complete for member in members] == [False, True]
    outputs = await asyncio.to_thread(world.outputs)
    assert outputs.keys() == {(p, n) for p in range(4) for n in range(40)}
    assert max(outputs.values()) == 1


async def test_in_the_group_of_the_service_it_reads_what_is_left_each_time(kafka: Cluster) -> None:
    world = World(kafka, "at_least_once", partitions=2)
    world.produce(30, 0, at_ms=SINCE_MS)
    group = f"{world.texts}-backfill"
    kafka.commit(group, world.texts, 10)
    with pytest.raises(BrokerError, match="belong to a service"):
        await world.run(TimeRange(None, None))
    catching_up = TimeRange(None, None, continues=True)
    for offsets in (range(10, 30), range(30, 45)):
        before = world.outputs()
        assert (await world.run(catching_up)).is_complete
        assert world.outputs() - before == ids(0, offsets)
        assert kafka.committed(group, world.texts) == offsets.stop
        world.produce(15, 0, at_ms=UNTIL_MS)


async def test_a_transaction_that_is_open_at_the_end_is_waited_for(kafka: Cluster) -> None:
    """In one of two topics: its records are before the end, and what is written later is not."""
    world, other = (World(kafka, "exactly_once", partitions=1) for _ in range(2))
    world.produce(10, 0, at_ms=SINCE_MS)
    other.produce(10, 0, at_ms=SINCE_MS)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": other.texts})
    producer.init_transactions(30)
    producer.begin_transaction()
    for _ in range(5):
        producer.produce(other.texts, b'{"text": "open"}')
    assert producer.flush(30) == 0
    values = world.values()
    values["input"] = {"topics": [{"name": world.texts}, {"name": other.texts, "weight": 2}]}
    settings = Settings.model_validate(values)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        running = group.create_task(
            run_range(settings, TimeRange(None, None), stop=asyncio.Event())
        )
        await asyncio.to_thread(
            wait_until, lambda: world.outputs().total() == 20, what="what is committed is labelled"
        )
        await asyncio.sleep(1)
        assert not running.done()
        await asyncio.to_thread(other.produce, 3, 0, at_ms=SINCE_MS)
        await asyncio.to_thread(producer.commit_transaction, 30)
    assert running.result().is_complete
    sources = [json.loads(message.value())["source"] for message in kafka.read(world.labels)]
    read = Counter((source["topic"], source["offset"]) for source in sources)
    assert read == Counter(
        [(world.texts, n) for n in range(10)] + [(other.texts, n) for n in range(15)]
    )


async def test_a_service_in_the_same_group_is_said_and_not_waited_for(
    kafka: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a partition that it reads for ever."""
    monkeypatch.setattr(bounded_run, "_OTHERS_S", 2.0)
    world = World(kafka, "at_least_once", partitions=2)
    settings = Settings.model_validate(world.values())
    member = KafkaSource(settings.kafka, settings.input, SystemClock(), revoke_timeout_s=5)
    await member.start(RecordingListener())
    try:
        running = asyncio.ensure_future(world.run(TimeRange(None, None, continues=True)))
        while not running.done():
            await member.poll(max_items=10, timeout_s=0.2)
        with pytest.raises(BrokerError, match="Stop the service that runs in the group"):
            await running
    finally:
        await member.stop()
