"""The doubles keep what they promise, or flow tests prove nothing."""

import asyncio

import pytest

from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import Position, TopicPartition
from streamlabel.consumer.testing.memory_ports import (
    Committed,
    MemoryBroker,
    MemorySink,
    MemorySource,
    Written,
)
from streamlabel.errors import BrokerError, OutputRefusedError, PartitionLostError
from tests.doubles import ManualClock, RecordingListener, settle

P0, P1 = TopicPartition("texts", 0), TopicPartition("texts", 1)


def outbound(value: bytes, *, offset: int = 0) -> Outbound:
    return Outbound("labels", None, value, (), Position("texts", 0, offset))


async def test_poll_wakes_on_a_new_record_and_on_its_timeout() -> None:
    broker, clock = MemoryBroker(), ManualClock()
    source = MemorySource(broker, "texts", clock)
    await source.start(RecordingListener())
    poll = asyncio.ensure_future(source.poll(max_items=5, timeout_s=1.0))
    await settle()
    broker.append("texts", b"one")
    assert [record.value for record in await poll] == [b"one"]
    poll = asyncio.ensure_future(source.poll(max_items=5, timeout_s=1.0))
    await clock.advance(0.99)
    assert not poll.done()
    await clock.advance(0.01)
    assert await poll == []
    assert clock.sleeping == 0


async def test_poll_returns_at_most_max_items_in_order() -> None:
    broker = MemoryBroker()
    source = MemorySource(broker, "texts", ManualClock())
    for value in (b"1", b"2", b"3"):
        broker.append("texts", value)
    await source.start(RecordingListener())
    assert source.lag() == {P0: 3}
    first = await source.poll(max_items=2, timeout_s=0)
    rest = await source.poll(max_items=2, timeout_s=0)
    assert [r.position.offset for r in (*first, *rest)] == [0, 1, 2]
    assert await source.poll(max_items=0, timeout_s=0) == []


async def test_a_revoked_partition_is_not_returned_and_can_be_committed_until_then() -> None:
    broker = MemoryBroker(partitions=2)
    source = MemorySource(broker, "texts", ManualClock())
    listener = RecordingListener()
    await source.start(listener)
    broker.append("texts", b"x", partition=1)
    await source.revoke([P1])
    await source.commit({P0: 3, P1: 1})
    assert await source.poll(max_items=5, timeout_s=0) == []
    assert broker.committed == {P0: 3}
    await source.assign([P1])
    assert len(await source.poll(max_items=5, timeout_s=0)) == 1
    assert listener.seen[1:] == [("revoked", [P1]), ("assigned", [P1])]


async def test_restart_begins_again_at_the_committed_offset() -> None:
    broker, clock = MemoryBroker(), ManualClock()
    source = MemorySource(broker, "texts", clock)
    await source.start(RecordingListener())
    for value in (b"1", b"2"):
        broker.append("texts", value)
    await source.poll(max_items=5, timeout_s=0)
    await source.commit({P0: 1})
    restarting = asyncio.create_task(source.restart(P0))
    await clock.advance(1)  # a heartbeat
    await restarting
    again = await source.poll(max_items=5, timeout_s=0)
    assert [record.position.offset for record in again] == [1]


async def test_the_nth_call_fails_with_or_without_its_effect() -> None:
    broker = MemoryBroker()
    sink = MemorySink(broker)
    sink.faults.fail("deliver", BrokerError("lost", True), nth=2)
    sink.faults.fail("deliver", BrokerError("answer lost", True), nth=3, effect=True)
    await sink.deliver(P0, [outbound(b"1")], 1)
    for value in (b"2", b"3"):
        with pytest.raises(BrokerError, match="lost"):
            await sink.deliver(P0, [outbound(value)], 1)
    assert [out.value for out in broker.written("labels")] == [b"1", b"3"]
    assert sink.faults.calls == {"deliver": 3}


async def test_a_refused_output_is_named_before_anything_is_written() -> None:
    broker = MemoryBroker()
    sink = MemorySink(broker, limits={"labels": 40})
    with pytest.raises(OutputRefusedError) as caught:
        await sink.deliver(P0, [outbound(b"a"), outbound(b"b" * 40), outbound(b"c")], 3)
    assert list(caught.value.refused) == [1]
    assert broker.written("labels") == []


async def test_a_transaction_is_all_or_nothing_and_fenced_by_a_newer_owner() -> None:
    broker = MemoryBroker()
    old = MemorySink(broker, transactional=True, limits={"labels": 40})
    new = MemorySink(broker, transactional=True)
    await old.assigned([P0])
    with pytest.raises(OutputRefusedError, match=r"1 output\(s\) refused"):
        await old.deliver(P0, [outbound(b"a"), outbound(b"b" * 40)], 2)
    await new.assigned([P0])
    with pytest.raises(PartitionLostError, match="a newer owner"):
        await old.deliver(P0, [outbound(b"a")], 1)
    assert broker.journal == []
    await new.deliver(P0, [outbound(b"a")], 1)
    assert broker.journal == [
        Written(Position("labels", 0, 0), outbound(b"a")),
        Committed(P0, 1),
    ]


async def test_a_held_delivery_waits_for_its_release() -> None:
    broker = MemoryBroker()
    sink = MemorySink(broker)
    sink.hold(P0)
    delivery = asyncio.ensure_future(sink.deliver(P0, [outbound(b"a")], 1))
    await settle()
    await sink.deliver(P1, [outbound(b"b")], 1)
    assert sink.waiting == 1
    assert not delivery.done()
    sink.release(P0)
    await delivery
    assert [out.value for out in broker.written("labels")] == [b"b", b"a"]


async def test_an_offset_that_is_gone_is_an_error_and_no_jump() -> None:
    broker = MemoryBroker(first_offsets={P0: 5})
    source = MemorySource(broker, "texts", ManualClock())
    await source.start(RecordingListener())
    with pytest.raises(BrokerError, match="out of range") as caught:
        await source.poll(max_items=1, timeout_s=0)
    assert not caught.value.retriable


async def test_sleepers_wake_in_order_each_at_its_own_instant() -> None:
    clock = ManualClock(now_s=0.0)
    woken: list[tuple[str, float]] = []

    async def nap(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.now_s()))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(nap("late", 3.0))
        tasks.create_task(nap("early", 1.0))
        await clock.advance(3.0)
    assert woken == [("early", 1.0), ("late", 3.0)]
