"""What a shared producer sends, holds back and takes back, with aiokafka's own queues."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import MessageSizeTooLargeError

from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import Position
from streamlabel.consumer.kafka.writer import Writer
from tests.doubles import settle

NODE = 1


class Cluster:
    """What is known about topics: in the place of aiokafka's metadata."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions

    def partitions_for_topic(self, topic: str) -> set[int]:
        """All of them."""
        return set(range(self.partitions))

    def leader_for_partition(self, place: KafkaPartition) -> int | None:
        """The one node, of partitions that are there."""
        return NODE if place.partition < self.partitions else None


class Line:
    """A writer whose sender is the test: it drains and answers."""

    def __init__(self, producer: AIOKafkaProducer, cluster: Cluster) -> None:
        self.cluster = cluster
        self.may_send = True
        self.writer = Writer(producer, request_timeout_s=8.0, may_send=lambda: self.may_send)
        self.accumulator = producer._message_accumulator
        self.tasks: list[asyncio.Task[None]] = []

    async def write(self, partition: int, size: int = 100) -> "asyncio.Task[None]":
        """Begin to write one output."""
        position = Position("texts", partition, 0)
        outbound = Outbound("labels", None, b"x" * size, (), position)
        task = asyncio.create_task(self.writer.write([outbound], partition))
        self.tasks.append(task)
        await settle()
        return task

    def request(self, ignore: Collection[int] = ()) -> Mapping[KafkaPartition, Any]:
        """What the sender would send to the node now."""
        nodes, _ = self.accumulator.drain_by_nodes(ignore, set())
        found: Mapping[KafkaPartition, Any] = nodes.get(NODE, {})
        return found


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    producer = AIOKafkaProducer(enable_idempotence=True, acks="all", max_batch_size=1_000_000)
    cluster = Cluster(partitions=8)
    producer.client.cluster = producer._message_accumulator._cluster = cluster
    producer._metadata = cluster
    producer._sender._sender_task = asyncio.get_running_loop().create_future()
    producer._txn_manager.set_pid_and_epoch(1, 0)
    line = Line(producer, cluster)
    yield line
    for task in line.tasks:
        task.cancel()
    await asyncio.gather(*line.tasks, return_exceptions=True)
    producer._closed = True


def acknowledge(request: Mapping[KafkaPartition, Any]) -> None:
    for batch in request.values():
        batch.done(0)


async def test_a_write_ends_with_its_acknowledgement(line: Line) -> None:
    write = await line.write(0)
    request = line.request()
    await settle()
    assert not write.done()
    acknowledge(request)
    await write
    assert not line.writer.is_retired


async def test_a_request_holds_what_the_link_carries_and_the_rest_is_next(line: Line) -> None:
    for partition in range(8):
        await line.write(partition, size=40_000)
    seen: list[int] = []
    limit = 64 * 1024  # at first
    while request := line.request():
        size = sum(batch._builder.size() for batch in request.values())
        assert len(request) == 1 or size <= limit
        limit *= 2
        seen += [place.partition for place in request]
        acknowledge(request)
        await settle()
    assert seen == list(range(8))


async def test_a_quick_link_gets_more_at_once(line: Line) -> None:
    largest = 0
    for _ in range(6):
        writes = [await line.write(partition, size=60_000) for partition in range(8)]
        while request := line.request():
            largest = max(largest, len(request))
            acknowledge(request)
        await asyncio.gather(*writes)
    assert largest == 8


async def test_a_request_that_was_not_answered_in_time_is_repeated_in_smaller_ones(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr("streamlabel.consumer.kafka.writer.time.monotonic", lambda: now_s)
    for _ in range(3):
        writes = [await line.write(partition, size=60_000) for partition in range(8)]
        while request := line.request():
            acknowledge(request)
        await asyncio.gather(*writes)
    writes = [await line.write(partition, size=60_000) for partition in range(8)]
    first = line.request()
    assert len(first) == 8
    sizes, repeated = [len(first)], first
    while len(repeated) > 1:
        now_s += 8.0
        for batch in repeated.values():
            line.accumulator.reenqueue(batch)
        repeated = line.request()
        sizes.append(len(repeated))
    assert sizes[1] <= sizes[0] // 2
    assert sizes[-1] == 1
    acknowledge(repeated)
    while request := line.request():
        acknowledge(request)
    await asyncio.gather(*writes)
    assert not line.writer.is_retired


async def test_nothing_leaves_while_somebody_else_may_own_the_partitions(line: Line) -> None:
    line.may_send = False
    write = await line.write(0)
    assert line.request() == {}
    line.may_send = True
    acknowledge(line.request())
    await write


async def test_what_has_not_left_is_taken_back_and_the_producer_goes_on(line: Line) -> None:
    given_up, other = await line.write(0), await line.write(1)
    given_up.cancel()
    await settle()
    request = line.request()
    assert [place.partition for place in request] == [1]
    assert not line.writer.is_retired
    acknowledge(request)
    await other


async def test_a_batch_behind_one_that_is_taken_back_gets_its_place(line: Line) -> None:
    given_up = await line.write(0)
    behind = await line.write(8)  # the same partition of the topic
    given_up.cancel()
    await settle()
    request = line.request()
    assert [place.partition for place in request] == [0]
    acknowledge(request)
    await behind


async def test_what_has_left_is_not_repeated_once_it_is_given_up_and_others_go_on(
    line: Line,
) -> None:
    given_up, other = await line.write(0), await line.write(1)
    request = line.request()
    given_up.cancel()
    await settle()
    assert line.writer.is_retired  # its number may be missing at the broker
    for batch in request.values():  # no answer: aiokafka would send both again
        line.accumulator.reenqueue(batch)
    again = line.request()
    assert [place.partition for place in again] == [1]
    acknowledge(again)
    await other


async def test_a_refused_batch_retires_the_producer_and_fails_its_own_write_only(
    line: Line,
) -> None:
    refused, other = await line.write(0), await line.write(1)
    request = line.request()
    request[KafkaPartition("labels", 0)].failure(MessageSizeTooLargeError())
    with pytest.raises(MessageSizeTooLargeError):
        await refused
    assert line.writer.is_retired
    request[KafkaPartition("labels", 1)].done(0)
    await other


@pytest.mark.parametrize("has_left", [False, True])
async def test_a_topic_created_again_with_fewer_partitions_is_counted_anew(
    line: Line, has_left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlabel.consumer.kafka.writer._CHECK_INTERVAL_S", 0.01)
    write = await line.write(5)
    if has_left:
        for batch in line.request().values():
            line.accumulator.reenqueue(batch)
    line.cluster.partitions = 3
    async with asyncio.timeout(10):
        while not (request := line.request()):  # the partition that is gone has no leader
            await line.accumulator.waiter()
    assert [place.partition for place in request] == [2]
    acknowledge(request)
    await write


async def test_a_topic_that_grew_is_used_as_it_is_now(line: Line) -> None:
    first = await line.write(9)
    request = line.request()
    assert [place.partition for place in request] == [1]
    acknowledge(request)
    await first
    line.cluster.partitions = 16
    second = await line.write(9)
    request = line.request()
    assert [place.partition for place in request] == [9]
    acknowledge(request)
    await second
