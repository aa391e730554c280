"""What every RecordSource and RecordSink keeps, in memory, embedded and on a real Kafka."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from streamlabel.consumer.core.ports import Outbound, RecordSink, RecordSource
from streamlabel.consumer.core.records import Position, SourceRecord, TopicPartition
from streamlabel.demo.broker import EmbeddedBroker
from streamlabel.errors import ConfigError, OutputRefusedError
from tests.contract.worlds import EmbeddedWorld, MemoryWorld, RealWorld, World
from tests.doubles import RecordingListener
from tests.requirements import missing

WITHIN_S = 20.0  # far more than any of this takes; only a hang reaches it


@pytest.fixture(params=["memory", "embedded", pytest.param("real", marks=pytest.mark.kafka)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
    elif request.param == "real":
        yield RealWorld(request.getfixturevalue("kafka"))
    else:
        try:
            with EmbeddedBroker() as broker:
                yield EmbeddedWorld(broker)
        except ConfigError as error:
            missing(str(error))


@pytest.fixture
async def source(world: World) -> AsyncIterator[RecordSource]:
    member = world.source()
    yield member
    await member.stop()


@pytest.fixture
async def sink(world: World) -> AsyncIterator[RecordSink]:
    writer = world.sink()
    await writer.start()
    yield writer
    await writer.stop()


async def read(source: RecordSource, count: int, *, at_most: int = 100) -> list[SourceRecord]:
    """Poll until ``count`` records are there."""
    records: list[SourceRecord] = []
    async with asyncio.timeout(WITHIN_S):
        while len(records) < count:
            polled = await source.poll(max_items=at_most, timeout_s=0.5)
            assert len(polled) <= at_most
            records += polled
    return records


def output(world: World, value: bytes, *, partition: int = 0, offset: int = 0) -> Outbound:
    position = Position(world.texts, partition, offset)
    return Outbound(world.labels, b"k", value, (("h", b"1"), ("none", None)), position)


async def test_records_come_in_offset_order_and_never_more_than_asked(
    world: World, source: RecordSource
) -> None:
    world.produce([b"%d" % number for number in range(10)])
    world.produce([b"other"], partition=1)
    await source.start(RecordingListener())
    records = await read(source, 11, at_most=3)
    mine = [record for record in records if record.position.partition == 0]
    assert [record.position.offset for record in mine] == list(range(10))
    assert [record.value for record in mine] == [b"%d" % number for number in range(10)]
    assert all(record.undecodable is None for record in records)


async def test_the_listener_knows_a_partition_before_its_first_record(
    world: World, source: RecordSource
) -> None:
    world.produce([b"x"])
    listener = RecordingListener()
    await source.start(listener)
    [record] = await read(source, 1)
    told = [partition for event, seen in listener.seen for partition in seen if event == "assigned"]
    assert record.position.topic_partition in told


async def test_a_poll_for_nothing_returns_nothing_and_loses_nothing(
    world: World, source: RecordSource
) -> None:
    world.produce([b"x"])
    await source.start(RecordingListener())
    assert await source.poll(max_items=0, timeout_s=0.1) == []
    assert [record.value for record in await read(source, 1)] == [b"x"]


async def test_the_next_member_begins_at_the_committed_offset(
    world: World, source: RecordSource
) -> None:
    world.produce([b"%d" % number for number in range(5)])
    await source.start(RecordingListener())
    await read(source, 5)
    await source.commit({TopicPartition(world.texts, 0): 3})
    assert world.committed() == 3
    await source.stop()
    second = world.source()
    await second.start(RecordingListener())
    assert [record.position.offset for record in await read(second, 2)] == [3, 4]
    await second.stop()


async def test_only_assigned_partitions_are_committed(world: World, source: RecordSource) -> None:
    world.produce([b"x"])
    await source.start(RecordingListener())
    await read(source, 1)
    foreign = TopicPartition("not-ours", 0)
    await source.commit({TopicPartition(world.texts, 0): 1, foreign: 7})
    assert world.committed() == 1


async def test_stopping_commits_nothing_and_may_be_repeated(
    world: World, source: RecordSource
) -> None:
    world.produce([b"x"])
    await source.start(RecordingListener())
    await read(source, 1)
    await source.stop()
    await source.stop()
    assert world.committed() is None


async def test_restart_reads_again_from_the_committed_offset(
    world: World, source: RecordSource
) -> None:
    world.produce([b"%d" % number for number in range(4)])
    listener = RecordingListener()
    await source.start(listener)
    await read(source, 4)
    first = TopicPartition(world.texts, 0)
    await source.commit({first: 2})
    await source.restart(first)
    assert [record.position.offset for record in await read(source, 2)] == [2, 3]
    assert listener.seen.count(("assigned", [first])) >= 1


async def test_a_partition_is_owned_from_its_assignment_to_the_stop(
    world: World, source: RecordSource
) -> None:
    first, foreign = TopicPartition(world.texts, 0), TopicPartition("not-ours", 0)
    assert not await source.still_owns(first), "nothing is ours before the start"
    world.produce([b"x"])
    await source.start(RecordingListener())
    await read(source, 1)
    assert await source.still_owns(first)
    assert not await source.still_owns(foreign)
    await source.stop()
    assert not await source.still_owns(first)


@pytest.mark.may_block("the pause of the process that the test is about")
async def test_a_member_that_was_expelled_while_it_stood_still_owns_nothing(
    world: World, source: RecordSource
) -> None:
    world.produce([b"x"])
    await source.start(RecordingListener())
    await read(source, 1)
    first = TopicPartition(world.texts, 0)
    assert await source.still_owns(first)
    world.expel_paused(source)
    assert not await source.still_owns(first)


async def test_the_lag_is_what_was_not_returned_yet(world: World, source: RecordSource) -> None:
    world.produce([b"%d" % number for number in range(10)])
    await source.start(RecordingListener())
    await read(source, 4, at_most=4)
    assert source.lag()[TopicPartition(world.texts, 0)] == 6
    held = source.held_back()[TopicPartition(world.texts, 0)]
    assert (held.first_offset, held.offsets) == (10, 0)


async def test_positions_stand_right_behind_what_was_returned(
    world: World, source: RecordSource
) -> None:
    at = TopicPartition(world.texts, 0)
    world.produce([b"%d" % number for number in range(10)])
    await source.start(RecordingListener())
    records = await read(source, 4, at_most=4)
    assert source.positions().get(at) == records[-1].position.offset + 1 == 4
    await read(source, 6)
    assert source.positions()[at] == 10
    await source.commit({at: 10})
    await source.stop()
    second = world.source()
    await second.start(RecordingListener())
    world.produce([b"other"], partition=1)
    await read(second, 1)
    assert at not in second.positions()  # nothing was read beyond where it began
    await second.stop()


async def test_outputs_keep_their_order_and_the_number_of_their_partition(
    world: World, sink: RecordSink
) -> None:
    for partition in (0, 1):
        at = TopicPartition(world.texts, partition)
        outputs = [
            output(world, b"%d-%d" % (partition, offset), partition=partition, offset=offset)
            for offset in range(300)
        ]
        await sink.deliver(at, outputs, 300)
    for partition in (0, 1):
        values = [value for number, _, value in world.written() if number == partition]
        assert values == [b"%d-%d" % (partition, offset) for offset in range(300)]


async def test_deliveries_of_many_partitions_run_side_by_side(
    world: World, sink: RecordSink
) -> None:
    async with asyncio.TaskGroup() as tasks:
        for partition in (0, 1):
            outputs = [output(world, b"v", partition=partition, offset=n) for n in range(50)]
            tasks.create_task(sink.deliver(TopicPartition(world.texts, partition), outputs, 50))
    assert len(world.written()) == 100


async def test_a_refused_output_is_named_and_nothing_is_written_behind_it(
    world: World, sink: RecordSink
) -> None:
    at = TopicPartition(world.texts, 0)
    limit = sink.limit_bytes(world.labels)
    outputs = [output(world, b"a"), output(world, b"x" * limit), output(world, b"b")]
    with pytest.raises(OutputRefusedError) as caught:
        await sink.deliver(at, outputs, 3)
    assert list(caught.value.refused) == [1]
    assert caught.value.written <= {0}
    outputs[1] = output(world, b"instead")
    left = [output for n, output in enumerate(outputs) if n not in caught.value.written]
    await sink.deliver(at, left, 3)
    assert [value for _, _, value in world.written()] == [b"a", b"instead", b"b"]


async def test_an_output_of_exactly_the_limit_is_written(world: World, sink: RecordSink) -> None:
    largest = output(world, b"")
    room = sink.limit_bytes(world.labels) - largest.size_bytes
    await sink.deliver(TopicPartition(world.texts, 0), [output(world, b"x" * room)], 1)
    assert len(world.written()) == 1


async def test_tombstones_and_empty_deliveries_are_fine(world: World, sink: RecordSink) -> None:
    at = TopicPartition(world.texts, 0)
    await sink.deliver(at, [], 1)
    await sink.deliver(at, [Outbound(world.labels, None, None, (), Position(world.texts, 0, 1))], 2)
    assert world.written() == [(0, None, None)]


async def test_a_sink_may_be_stopped_twice_and_what_it_wrote_stays(
    world: World, sink: RecordSink
) -> None:
    await sink.deliver(TopicPartition(world.texts, 0), [output(world, b"kept")], 1)
    await sink.stop()
    await sink.stop()
    assert [value for *_, value in world.written()] == [b"kept"]
