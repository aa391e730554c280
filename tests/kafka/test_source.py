"""What the Kafka source keeps when the group, the broker or the records misbehave."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

import pytest

from streamlabel.config.kafka import InputSettings, KafkaSettings
from streamlabel.consumer.core.ports import AssignmentListener
from streamlabel.consumer.core.records import Position, SourceRecord, TopicPartition
from streamlabel.consumer.kafka.open_ports import KafkaSource
from streamlabel.errors import BrokerError, ConfigError
from streamlabel.models.core.system_clock import SystemClock
from testing.kafka_broker import Cluster, LocalCluster
from tests.doubles import RecordingListener
from tests.kafka_bytes import batch, produce_bytes

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

WITHIN_S = 60.0  # only a hang takes longer


def settings(cluster: Cluster, group: str, **more: object) -> KafkaSettings:
    """Fast heartbeats, so that rebalances do not take a test's whole time."""
    return KafkaSettings.model_validate(
        {
            "bootstrap_servers": cluster.bootstrap,
            "group_id": group,
            "heartbeat_interval_ms": 500,
            "session_timeout_ms": 6000,
            **more,
        }
    )


@asynccontextmanager
async def member(
    kafka: KafkaSettings, topic: str, listener: AssignmentListener | None = None, **inputs: object
) -> AsyncIterator[KafkaSource]:
    """A started source."""
    source = KafkaSource(
        kafka,
        InputSettings.model_validate({"topic": topic, **inputs}),
        SystemClock(),
        revoke_timeout_s=5,
    )
    await source.start(listener or RecordingListener())
    try:
        yield source
    finally:
        await source.stop()


async def read(source: KafkaSource, count: int) -> list[SourceRecord]:
    records: list[SourceRecord] = []
    async with asyncio.timeout(WITHIN_S):
        while len(records) < count:
            records += await source.poll(max_items=100, timeout_s=0.5)
    return records


async def until(claim: Callable[[], bool], *sources: KafkaSource) -> list[SourceRecord]:
    """Poll all sources until the claim holds; return what came."""
    records: list[SourceRecord] = []
    async with asyncio.timeout(WITHIN_S):
        while not claim():
            for source in sources:
                records += await source.poll(max_items=100, timeout_s=0.1)
    return records


in_thread = asyncio.to_thread  # the helpers of the cluster block


# ---- the group


async def test_a_second_member_takes_half_and_no_record_is_lost_or_read_twice(
    kafka: Cluster,
) -> None:
    topic = kafka.topic("texts", partitions=4)
    group = settings(kafka, topic)
    first_told, second_told = RecordingListener(), RecordingListener()

    class Committing(RecordingListener):
        """Commits what was read when partitions go, as the pipeline does."""

        async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
            lost = list(partitions)
            await super().revoked(lost)
            await first.commit(dict.fromkeys(lost, 10))

    first_told = Committing()
    for partition in range(4):
        kafka.produce(topic, [b"%d" % n for n in range(10)], partition=partition)
    async with member(group, topic, first_told) as first:
        before = await read(first, 40)
        async with member(group, topic, second_told) as second:
            share = await until(
                lambda: len({p for _, ps in second_told.seen for p in ps}) == 2, first, second
            )
            assert share == []  # all 40 were committed in time
            for partition in range(4):
                await in_thread(kafka.produce, topic, [b"after"], partition=partition)
            after: list[SourceRecord] = []
            after += await until(lambda: len(after) >= 0, first, second)
            async with asyncio.timeout(WITHIN_S):
                while len(after) < 4:
                    for source in (first, second):
                        after += await source.poll(max_items=10, timeout_s=0.2)
    assert len({record.position for record in before}) == 40
    assert sorted(record.position.partition for record in after) == [0, 1, 2, 3]
    assert {record.position.offset for record in after} == {10}


async def test_a_revoke_that_takes_longer_than_a_session_may_still_commit(kafka: Cluster) -> None:
    topic = kafka.topic("texts", partitions=2)
    group = settings(kafka, topic)
    committed: list[TopicPartition] = []

    class Slow(RecordingListener):
        """Drains for longer than the session."""

        async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
            lost = list(partitions)
            await asyncio.sleep(7.0)  # the session is 6 s
            await first.commit(dict.fromkeys(lost, 1))
            committed.extend(lost)

    kafka.produce(topic, [b"x"])
    kafka.produce(topic, [b"x"], partition=1)
    second_told = RecordingListener()
    async with member(group, topic, Slow()) as first:
        await read(first, 2)
        async with member(group, topic, second_told) as second:
            again = await until(lambda: bool(second_told.seen), first, second)
            again += await second.poll(max_items=10, timeout_s=1.0)
            assert again == []
    assert sorted(committed) == [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    assert await in_thread(kafka.committed, topic, topic, 1) == 1


async def test_records_wait_until_the_listener_has_taken_the_partition(kafka: Cluster) -> None:
    topic = kafka.topic("texts")
    kafka.produce(topic, [b"x"])
    let_in = asyncio.Event()

    class Gatekeeper(RecordingListener):
        """Takes its time."""

        async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
            await let_in.wait()
            await super().assigned(partitions)

    async with member(settings(kafka, topic), topic, Gatekeeper()) as source:
        for _ in range(10):
            assert await source.poll(max_items=10, timeout_s=0.3) == []
        let_in.set()
        assert [record.value for record in await read(source, 1)] == [b"x"]


async def test_an_error_of_the_listener_surfaces_in_poll(kafka: Cluster) -> None:
    topic = kafka.topic("texts")

    class Broken(RecordingListener):
        """Has a bug."""

        async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
            raise KeyError("a bug")

    async with member(settings(kafka, topic), topic, Broken()) as source:
        with pytest.raises(BrokerError, match="KeyError") as caught:
            await until(lambda: False, source)
        assert not caught.value.retriable
        assert isinstance(caught.value, BrokerError)


async def test_a_retriable_error_of_the_listener_is_repeated(kafka: Cluster) -> None:
    topic = kafka.topic("texts")
    kafka.produce(topic, [b"x"])
    calls: list[int] = []

    class Late(RecordingListener):
        """Fails once."""

        async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
            calls.append(1)
            if len(calls) == 1:
                raise BrokerError("not yet", True)

    async with member(settings(kafka, topic), topic, Late()) as source:
        assert len(await read(source, 1)) == 1
    assert len(calls) == 2


async def test_a_member_without_partitions_is_told_so(kafka: Cluster) -> None:
    topic = kafka.topic("texts")
    told = RecordingListener(), RecordingListener()
    group = settings(kafka, topic)
    async with member(group, topic, told[0]) as first, member(group, topic, told[1]) as second:
        await until(lambda: all(listener.seen for listener in told), first, second)
        partitions = [seen[-1][1] for seen in (listener.seen for listener in told)]
    assert sorted(partitions, key=len) == [[], [TopicPartition(topic, 0)]]


async def test_a_static_member_that_restarts_causes_no_rebalance(kafka: Cluster) -> None:
    topic = kafka.topic("texts", partitions=2)
    static = settings(kafka, topic, group_instance_id="pod-0")
    other_told = RecordingListener()
    async with member(settings(kafka, topic), topic, other_told) as other:
        told = RecordingListener()
        async with member(static, topic, told) as one:
            await until(lambda: bool(told.seen) and len(other_told.seen) >= 2 + 1 + 1, one, other)
        before = list(other_told.seen)
        async with member(static, topic, told) as again:
            await until(lambda: len(told.seen) >= 2, again, other)
            await until(lambda: True, other)
        assert other_told.seen == before


# ---- where to begin


async def test_a_new_group_may_begin_at_the_end_and_remembers_it(kafka: Cluster) -> None:
    topic = kafka.topic("texts")
    kafka.produce(topic, [b"old"])
    group = settings(kafka, topic)
    async with member(group, topic, start_at="latest") as source:
        told = await source.poll(max_items=10, timeout_s=3.0)
        assert told == []
    assert kafka.committed(topic, topic) == 1
    kafka.produce(topic, [b"while away"])
    async with member(group, topic, start_at="latest") as source:
        assert [record.value for record in await read(source, 1)] == [b"while away"]


async def test_an_offset_that_is_gone_stops_with_a_clear_sentence(kafka: Cluster) -> None:
    topic = kafka.topic("texts")
    kafka.produce(topic, [b"%d" % n for n in range(10)])
    kafka.commit(topic, topic, 2)
    kafka.drop_before(topic, 5)
    async with member(settings(kafka, topic), topic) as source:
        with pytest.raises(BrokerError, match=r"offset 2 does not exist.*out_of_range") as caught:
            await until(lambda: False, source)
        assert not caught.value.retriable


@pytest.mark.parametrize(("policy", "first"), [("earliest", 5), ("latest", 10)])
async def test_an_offset_that_is_gone_may_be_left_behind_by_policy(
    kafka: Cluster, policy: str, first: int
) -> None:
    topic = kafka.topic("texts")
    kafka.produce(topic, [b"%d" % n for n in range(10)])
    kafka.commit(topic, topic, 2)
    kafka.drop_before(topic, 5)
    async with member(settings(kafka, topic), topic, out_of_range=policy) as source:
        records = await source.poll(max_items=100, timeout_s=5.0)
        if policy == "latest":
            assert records == []
            await in_thread(kafka.produce, topic, [b"new"])
            records = await read(source, 1)
        assert records[0].position.offset == first


async def test_an_offset_behind_the_end_stops_with_a_sentence_of_its_own(kafka: Cluster) -> None:
    topic = kafka.topic("texts")
    kafka.produce(topic, [b"%d" % n for n in range(10)])
    kafka.commit(topic, topic, 100)
    async with member(settings(kafka, topic), topic) as source:
        with pytest.raises(BrokerError, match=r"beyond its end 10.*out_of_range") as caught:
            await until(lambda: False, source)
        assert not caught.value.retriable


@pytest.mark.parametrize(("policy", "first"), [("earliest", 0), ("latest", 10)])
async def test_an_offset_behind_the_end_may_be_left_by_policy_and_the_jump_is_stored(
    kafka: Cluster, policy: str, first: int
) -> None:
    topic = kafka.topic("texts")
    kafka.produce(topic, [b"%d" % n for n in range(10)])
    kafka.commit(topic, topic, 100)
    told = RecordingListener()
    async with member(settings(kafka, topic), topic, told, out_of_range=policy) as source:
        await until(lambda: len(told.seen) == 3, source)
        at = [TopicPartition(topic, 0)]
        assert told.seen == [("assigned", at), ("revoked", at), ("assigned", at)]
        await in_thread(kafka.produce, topic, [b"new"])
        assert (await read(source, 1))[0].position.offset == first
    assert kafka.committed(topic, topic) == first


@pytest.mark.parametrize("edge", [5, 10])
async def test_an_offset_at_the_first_record_or_at_the_end_is_no_loss(
    kafka: Cluster, edge: int
) -> None:
    topic = kafka.topic("texts")
    kafka.produce(topic, [b"%d" % n for n in range(10)])
    kafka.commit(topic, topic, edge)
    kafka.drop_before(topic, edge)
    async with member(settings(kafka, topic), topic) as source:
        await in_thread(kafka.produce, topic, [b"new"])
        assert (await read(source, 1))[0].position.offset == edge


# ---- records that cannot be decoded


async def test_a_header_name_that_is_not_utf8_costs_one_record_and_no_neighbour(
    kafka: Cluster,
) -> None:
    topic = kafka.topic("texts", partitions=2)
    kafka.produce(topic, [b"before"])
    kafka.produce(topic, [b"%d" % n for n in range(50)], partition=1)
    await produce_bytes(kafka.bootstrap, topic, batch([b"1", b"2", b"3", b"4"], bad=1))
    await produce_bytes(kafka.bootstrap, topic, batch([b"5", b"6"], bad=0, codec=4))
    await in_thread(kafka.produce, topic, [b"after"])
    async with member(settings(kafka, topic), topic) as source:
        records = await read(source, 58)
        mine = [record for record in records if record.position.partition == 0]
        assert [record.position.offset for record in mine] == list(range(8))
        assert [record.value for record in mine] == [
            b"before", b"1", None, b"3", b"4", None, b"6", b"after",
        ]  # fmt: skip
        bad = [record for record in mine if record.undecodable]
        assert [record.position.offset for record in bad] == [2, 5]
        other = [record.value for record in records if record.position.partition == 1]
        assert other == [b"%d" % n for n in range(50)]
        assert set(source.lag().values()) == {0}


async def test_a_small_limit_holds_also_among_undecodable_records(kafka: Cluster) -> None:
    topic = kafka.topic("texts")
    await produce_bytes(kafka.bootstrap, topic, batch([b"1", b"2", b"3", b"4"], bad=0))
    async with member(settings(kafka, topic), topic) as source:
        offsets: list[int] = []
        async with asyncio.timeout(WITHIN_S):
            while len(offsets) < 4:
                polled = await source.poll(max_items=1, timeout_s=0.5)
                assert len(polled) <= 1
                offsets += [record.position.offset for record in polled]
    assert offsets == [0, 1, 2, 3]


# ---- topics and brokers


async def test_a_missing_topic_is_a_configuration_error_that_names_the_fix(kafka: Cluster) -> None:
    source = KafkaSource(
        settings(kafka, "g"), InputSettings(topic="no-such"), SystemClock(), revoke_timeout_s=5
    )
    with pytest.raises(ConfigError, match=r"no-such.*create_topics"):
        await source.start(RecordingListener())
    await source.stop()
    assert "no-such" not in await in_thread(kafka.topics)


async def test_missing_topics_are_created_if_asked_for(kafka: Cluster) -> None:
    name = f"made-{time.time_ns()}"
    asked = settings(kafka, name, create_topics=True, partitions=3)
    async with member(asked, name):
        described = await in_thread(lambda: kafka.admin().list_topics(name, timeout=10))
        assert len(described.topics[name].partitions) == 3


async def test_an_unreachable_broker_is_a_quick_retriable_error() -> None:
    nowhere = KafkaSettings(bootstrap_servers="localhost:1", group_id="g")
    source = KafkaSource(nowhere, InputSettings(topic="t"), SystemClock(), revoke_timeout_s=5)
    began_s = time.monotonic()
    with pytest.raises(BrokerError, match="bootstrap_servers") as caught:
        await source.start(RecordingListener())
    assert caught.value.retriable
    assert time.monotonic() - began_s < 10
    await source.stop()


@pytest.mark.parametrize("end", [LocalCluster.kill, LocalCluster.stop_node])
async def test_reading_goes_on_after_a_broker_restart(
    own_kafka: LocalCluster, end: Callable[[LocalCluster], Awaitable[None] | None]
) -> None:
    topic = own_kafka.topic("texts")
    await in_thread(own_kafka.produce, topic, [b"1"])
    async with member(settings(own_kafka, topic), topic) as source:
        assert len(await read(source, 1)) == 1
        await source.commit({TopicPartition(topic, 0): 1})
        await in_thread(end, own_kafka)
        assert await source.poll(max_items=1, timeout_s=1.0) == []
        own_kafka.start_node()
        await in_thread(own_kafka.wait_ready)
        await in_thread(own_kafka.produce, topic, [b"2"])
        assert [record.value for record in await read(source, 1)] == [b"2"]


async def test_stopping_with_the_broker_down_is_bounded(own_kafka: LocalCluster) -> None:
    topic = own_kafka.topic("texts")
    async with member(settings(own_kafka, topic), topic) as source:
        await source.poll(max_items=1, timeout_s=2.0)
        await in_thread(own_kafka.kill)
        began_s = time.monotonic()
        await source.stop()
        assert time.monotonic() - began_s < 15


# ---- several topics


async def test_an_undecodable_record_of_one_topic_costs_no_record_of_the_other(
    kafka: Cluster,
) -> None:
    first, second = kafka.topic("texts"), kafka.topic("texts", partitions=2)
    group = settings(kafka, first)
    topics = [{"name": first, "weight": 5}, {"name": second}]
    bad = batch([b"before", b"bad", b"after"], bad=1)
    for partition in (0, 1):
        kafka.produce(second, [b"%d" % n for n in range(5)], partition=partition)
    kafka.produce(first, [b"%d" % n for n in range(5)])
    await produce_bytes(kafka.bootstrap, second, bad, partition=1)
    kafka.produce(first, [b"%d" % n for n in range(5, 10)])
    source = KafkaSource(
        group, InputSettings.model_validate({"topics": topics}), SystemClock(), revoke_timeout_s=5
    )
    await source.start(RecordingListener())
    try:
        records = await read(source, 23)
        places = sorted(record.position for record in records)
        assert places == sorted(
            [Position(first, 0, n) for n in range(10)]
            + [Position(second, 0, n) for n in range(5)]
            + [Position(second, 1, n) for n in range(8)]
        )
        [undecodable] = [record for record in records if record.undecodable]
        assert undecodable.position == (second, 1, 6)
        ends = {
            TopicPartition(first, 0): 10,
            TopicPartition(second, 0): 5,
            TopicPartition(second, 1): 8,
        }
        assert source.positions() == ends
        assert source.lag() == dict.fromkeys(ends, 0)
        await source.commit(ends)
        for (topic, partition), offset in ends.items():
            stored = await in_thread(kafka.committed, group.group_id, topic, partition)
            assert stored == offset
    finally:
        await source.stop()
