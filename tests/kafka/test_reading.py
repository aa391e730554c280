"""Where reading begins, what is committed without a record, and what an operator sees of it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from confluent_kafka import Consumer, KafkaException, Producer

from streamlabel.config.settings import Settings
from streamlabel.consumer.core.ports import RecordSource
from streamlabel.consumer.core.records import TopicPartition as Place
from streamlabel.consumer.kafka.open_ports import open_ports
from streamlabel.consumer.pipeline import Pipeline
from streamlabel.consumer.plans.deployment import deploy
from streamlabel.consumer.plans.plan import Single
from streamlabel.errors import BrokerError
from streamlabel.models.core.system_clock import SystemClock
from testing.kafka_broker import Cluster, wait_until
from tests.doubles import RecordingMetrics
from tests.flow.rig import ScriptedClassifier

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

WITHIN_S = 60.0  # only a hang takes longer
GUARANTEES = ("at_least_once", "exactly_once")

in_thread = asyncio.to_thread  # the helpers of the cluster block


@dataclass
class Topics:
    """One input and its outputs; the group has the input's name."""

    cluster: Cluster
    texts: str
    labels: str
    review: str
    dead: str

    @classmethod
    def create(cls, cluster: Cluster, *, partitions: int = 1) -> "Topics":
        """Create all four."""
        wanted = ("texts", "labels", "review", "dead")
        return cls(cluster, *(cluster.topic(name, partitions=partitions) for name in wanted))

    def settings(self, guarantee: str, **changes: Mapping[str, Any]) -> Settings:
        """Everything fast; ``changes`` name sections."""
        values: dict[str, dict[str, Any]] = {
            "kafka": {
                "bootstrap_servers": self.cluster.bootstrap,
                "group_id": self.texts,
                "heartbeat_interval_ms": 500,
                "session_timeout_ms": 6000,
                "metadata_max_age_ms": 300,
            },
            "input": {"topic": self.texts, "format": "text"},
            "output": {
                "labels_topic": self.labels,
                "review_topic": self.review,
                "dead_letter_topic": self.dead,
            },
            "model": {"backend": "fake"},
            "delivery": {"guarantee": guarantee, "commit_interval_s": 0.2},
        }
        for section, change in changes.items():
            values[section] = {**values[section], **change}
        return Settings.model_validate(values)

    def committed(self, partition: int = 0) -> int | None:
        """The group's next offset."""
        return self.cluster.committed(self.texts, self.texts, partition)

    def labelled(self) -> list[tuple[int, int]]:
        """Partition and offset of the inputs that have a label, sorted."""
        sources = [orjson.loads(m.value())["source"] for m in self.cluster.read(self.labels)]
        return sorted((source["partition"], source["offset"]) for source in sources)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[RecordSource, asyncio.Task[None]]]:
    """Run a pipeline with a scripted model; at the end it is drained, unless it has ended."""
    clock = SystemClock()
    source, sink = open_ports(settings, clock)
    await sink.start()
    deployment = deploy(settings, ScriptedClassifier(), limit_bytes=sink.limit_bytes)
    pipeline = Pipeline(
        source=source,
        sink=sink,
        plan=Single(deployment.id),
        deployments=[deployment],
        settings=settings,
        clock=clock,
        metrics=RecordingMetrics(),
    )
    task = asyncio.create_task(pipeline.run())
    try:
        yield source, task
        has_ended = task.done()
        pipeline.drain()
        async with asyncio.timeout(WITHIN_S):
            await asyncio.wait([task])
        if not has_ended:
            task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])
        await sink.stop()


async def until(claim: Callable[[], bool], what: str) -> None:
    """Wait until a claim holds that may block."""
    await in_thread(lambda: wait_until(claim, what=what, timeout_s=WITHIN_S))


def write(cluster: Cluster, topic: str, values: list[bytes | None], partition: int) -> bool:
    """Write to a partition; return whether the brokers have it by now."""
    try:
        cluster.produce(topic, values, partition=partition)
    except KafkaException:
        return False
    return True


def open_transaction(cluster: Cluster, topic: str) -> Producer:
    """Write one record in a transaction that stays open."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"0.9 open", partition=0)
    producer.flush(30)
    return producer


def transact(cluster: Cluster, topic: str, count: int, *, commit: bool) -> None:
    """Write records in one transaction, which leaves a marker behind them."""
    producer = Producer(
        {"bootstrap.servers": cluster.bootstrap, "transactional.id": f"{topic}-{commit}"}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for number in range(count):
        producer.produce(topic, b"0.9 text %d" % number)
    producer.flush(30)
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)


# ---- offsets without records


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_trailing_markers_and_aborted_records_are_committed_and_retention_is_no_loss(
    kafka: Cluster, guarantee: str
) -> None:
    topics = await in_thread(Topics.create, kafka)
    await in_thread(lambda: transact(kafka, topics.texts, 3, commit=True))
    async with running(topics.settings(guarantee)) as (source, _):
        await until(lambda: topics.committed() == 4, "the marker behind the records")
        await in_thread(lambda: transact(kafka, topics.texts, 5, commit=False))
        await until(lambda: topics.committed() == 10, "aborted records")
        assert await in_thread(kafka.ends, topics.texts) == {0: 10}
        assert set(source.lag().values()) == {0}
    await in_thread(kafka.drop_before, topics.texts, 10)
    await in_thread(kafka.produce, topics.texts, [b"0.9 new"])
    async with running(topics.settings(guarantee)):
        await until(lambda: topics.committed() == 11, "the record behind the deleted ones")
    assert await in_thread(topics.labelled) == [(0, 0), (0, 1), (0, 2), (0, 10)]


async def test_an_open_transaction_is_no_lag_and_is_shown_as_what_waits_behind_it(
    kafka: Cluster,
) -> None:
    topics = await in_thread(Topics.create, kafka)
    await in_thread(kafka.produce, topics.texts, [b"0.9 before"] * 2)
    at = Place(topics.texts, 0)
    async with running(topics.settings("at_least_once")) as (source, _):
        await until(lambda: topics.committed() == 2, "what stands before it")
        producer = await in_thread(open_transaction, kafka, topics.texts)
        await in_thread(kafka.produce, topics.texts, [b"0.9 behind"] * 30)
        await until(lambda: source.held_back()[at].offsets == 31, "what waits")
        assert source.held_back()[at].first_offset == 2
        assert source.lag()[at] == 0
        await in_thread(producer.abort_transaction, 30)
        await until(lambda: topics.committed() == 34, "what waited")
        assert source.held_back()[at].offsets == 0


# ---- members that cannot go on


async def test_a_second_process_with_the_same_instance_id_is_named_and_one_of_them_ends(
    kafka: Cluster,
) -> None:
    topics = await in_thread(Topics.create, kafka)
    settings = topics.settings("at_least_once", kafka={"group_instance_id": "pod-0"})
    async with running(settings) as (_, first):
        await in_thread(kafka.produce, topics.texts, [b"0.9 one"])
        await until(lambda: topics.committed() == 1, "the first has joined")
        async with running(settings) as (_, second):
            async with asyncio.timeout(WITHIN_S):
                await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
            assert first.done() != second.done()  # the other one goes on
            with pytest.raises(
                BrokerError, match=r"group_instance_id, pod-0: .* a name of its own"
            ):
                (first if first.done() else second).result()
            await in_thread(kafka.produce, topics.texts, [b"0.9 two"])
            await until(lambda: topics.committed() == 2, "it does")


async def test_a_group_of_another_assignor_is_explained(kafka: Cluster) -> None:
    topics = await in_thread(Topics.create, kafka)
    other = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": topics.texts,
            "partition.assignment.strategy": "range",
            "auto.offset.reset": "earliest",
        }
    )
    try:
        other.subscribe([topics.texts])
        await in_thread(kafka.produce, topics.texts, [b"0.9 one"])
        assert (await in_thread(other.poll, 30)) is not None
        async with running(topics.settings("at_least_once")) as (_, task):
            async with asyncio.timeout(WITHIN_S):
                await asyncio.wait([task])
            with pytest.raises(BrokerError, match=r"another partition assignor.*sticky"):
                task.result()
    finally:
        await in_thread(other.close)


# ---- partitions that are found later


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_a_partition_that_is_added_is_read_from_its_beginning_under_latest(
    kafka: Cluster, guarantee: str
) -> None:
    topics = await in_thread(Topics.create, kafka)
    await in_thread(kafka.produce, topics.texts, [b"0.9 old"] * 3)

    def add_and_write() -> None:
        kafka.grow(topics.texts, 2)
        values: list[bytes | None] = [b"0.9 early"] * 20
        wait_until(lambda: write(kafka, topics.texts, values, 1), what="it takes records")

    async with running(topics.settings(guarantee, input={"start_at": "latest"})):
        await until(lambda: topics.committed() == 3, "the group has begun")
        await in_thread(add_and_write)
        await until(lambda: topics.committed(1) == 20, "the new partition")
    assert await in_thread(topics.labelled) == [(1, offset) for offset in range(20)]


async def test_members_that_start_together_under_latest_skip_only_what_was_there(
    kafka: Cluster,
) -> None:
    topics = await in_thread(lambda: Topics.create(kafka, partitions=4))
    settings = topics.settings("exactly_once", input={"start_at": "latest"})
    for partition in range(4):
        await in_thread(write, kafka, topics.texts, [b"0.9 old"] * 2, partition)

    def has_begun() -> bool:
        return [topics.committed(partition) for partition in range(4)] == [2] * 4

    async with running(settings), running(settings), running(settings):
        await until(has_begun, "all partitions have an offset, although all are idle")
    for partition in range(4):
        await in_thread(write, kafka, topics.texts, [b"0.9 away"], partition)
    async with running(settings):
        await until(lambda: len(topics.labelled()) == 4, "what came while nobody was there")
    assert await in_thread(topics.labelled) == [(partition, 2) for partition in range(4)]


# ---- topics that are deleted and created again


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize(("start_at", "count"), [("earliest", 60), ("latest", 60), ("latest", 10)])
async def test_a_recreated_topic_is_read_from_its_beginning_by_policy(
    kafka: Cluster, guarantee: str, start_at: str, count: int
) -> None:
    """Whether the position of before stands in the new topic or behind its end."""
    topics = await in_thread(lambda: Topics.create(kafka, partitions=2))
    inputs = {"start_at": start_at, "out_of_range": "earliest"}
    seldom = {"metadata_max_age_ms": 300 if count > 50 else 30_000}
    async with running(topics.settings(guarantee, input=inputs, kafka=seldom)):
        await until(lambda: start_at == "earliest" or topics.committed() == 0, "it has begun")
        await in_thread(kafka.produce, topics.texts, [b"0.9 first"] * 50)
        await until(lambda: topics.committed() == 50, "the first topic")
        await in_thread(kafka.recreate, topics.texts)
        await in_thread(kafka.produce, topics.texts, [b"0.8 second"] * count)
        await until(lambda: topics.labelled().count((0, count - 1)) >= 1 + (count < 50), "the end")
        await until(lambda: topics.committed() == count, "its offset")
    labelled = await in_thread(topics.labelled)
    expected = Counter([(0, offset) for offset in (*range(50), *range(count))])
    assert set(labelled) == set(expected)
    assert not expected - Counter(labelled)


async def test_a_recreated_topic_ends_a_service_that_is_told_to_stop(kafka: Cluster) -> None:
    topics = await in_thread(Topics.create, kafka)
    await in_thread(kafka.produce, topics.texts, [b"0.9 first"])
    async with running(topics.settings("at_least_once")) as (_, task):
        await until(lambda: topics.committed() == 1, "the first topic")
        await in_thread(kafka.recreate, topics.texts)
        async with asyncio.timeout(WITHIN_S):
            await asyncio.wait([task])
        with pytest.raises(BrokerError, match=r"deleted and created again.*out_of_range"):
            task.result()


# ---- output topics that grow and shrink


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_the_partitions_of_output_topics_are_followed_while_the_service_runs(
    kafka: Cluster, guarantee: str
) -> None:
    """Each output is in the partition of its input modulo those that there are at that time."""
    topics = await in_thread(lambda: Topics.create(kafka, partitions=3))
    written = 0

    def places() -> list[tuple[int, int]]:
        """Input and output partition of each label there is."""
        return [
            (orjson.loads(m.value())["source"]["partition"], m.partition())
            for m in kafka.read(topics.labels)
        ]

    def is_written() -> bool:
        return topics.committed(2) == written

    async def has_output_at(output: int) -> None:
        """Write to partition 2 until an output is where it belongs; count what was written."""
        nonlocal written
        async with asyncio.timeout(WITHIN_S):
            while (2, output) not in await in_thread(places):
                await in_thread(write, kafka, topics.texts, [b"0.9 more"], 2)
                written += 1
                await until(is_written, "what was written")

    await in_thread(lambda: kafka.recreate(topics.labels, partitions=2))
    async with running(topics.settings(guarantee)):
        await has_output_at(0)
        await in_thread(kafka.grow, topics.labels, 5)
        await has_output_at(2)
        assert len(await in_thread(places)) == written, "nothing is lost or doubled by growth"
        before = written
        await in_thread(lambda: kafka.recreate(topics.labels, partitions=1))
        await has_output_at(0)
        now = await in_thread(places)
        assert set(now) == {(2, 0)}
        assert len(now) <= written - before, "what was written before went with the earlier topic"
