"""A link that is slow, or fails in the middle: what was acknowledged is not repeated."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import Position, TopicPartition
from streamlabel.consumer.testing.memory_broker import MemoryBroker, Written
from streamlabel.consumer.testing.memory_ports import MemorySink
from streamlabel.errors import BrokerError, PartitionLostError, PartlyDeliveredError
from tests.doubles import ManualClock
from tests.flow.rig import Rig, rig

P0 = TopicPartition("texts", 0)


class Link(MemorySink):
    """A sink behind a link that carries so much and no more, and never lies about it.

    A delivery that takes longer than ``patience_s`` fails: with transactions as a whole, else
    behind what came through in that time, of each topic the first outputs.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        clock: ManualClock,
        *,
        bytes_s: float,
        patience_s: float = 30.0,
        transactional: bool = False,
        moods: random.Random | None = None,
    ) -> None:
        super().__init__(broker, transactional=transactional)
        self.bytes_s = bytes_s
        self.sizes: list[int] = []
        self.failures = 0
        self._clock = clock
        self._patience_s = patience_s
        self._moods = moods

    async def deliver(
        self, partition: TopicPartition, outbounds: Sequence[Outbound], next_offset: int
    ) -> None:
        """Take the time that the link takes."""
        size = sum(outbound.size_bytes for outbound in outbounds)
        self.sizes.append(size)
        seconds = size / self.bytes_s
        carried = len(outbounds)
        if seconds > self._patience_s:
            carried = int(carried * self._patience_s / seconds)
        elif self._moods is not None and self._moods.random() < 0.3:
            carried = self._moods.randint(0, carried)
        await self._clock.sleep(min(seconds, self._patience_s))
        if carried == len(outbounds):
            await super().deliver(partition, outbounds, next_offset)
            return
        self.failures += 1
        if self.commits_offsets:
            raise PartitionLostError(*partition, "TimeoutError")
        await super().deliver(partition, outbounds[:carried], 0)
        raise PartlyDeliveredError("no answer in time", range(carried))


def text(number: int, *, length: int, confidence: str = "0.5") -> str:
    """Unsure, so that the whole text goes to review."""
    return f"{confidence} {number} " + "w" * length


def check_once_in_order(r: Rig, sent: Sequence[Position]) -> None:
    """Every output once, and in input order in each topic."""
    written = [entry for entry in r.broker.journal if isinstance(entry, Written)]
    copies = Counter((entry.outbound.position, entry.outbound.topic) for entry in written)
    assert set(copies.values()) == {1}
    assert {position for position, _ in copies} == set(sent)
    for topic in {entry.outbound.topic for entry in written}:
        for partition in range(r.broker.partitions):
            offsets = r.sources(topic, partition)
            assert offsets == sorted(offsets)


@pytest.mark.parametrize("transactional", [False, True])
async def test_a_slow_link_carries_most_of_what_it_can_and_nothing_twice(
    transactional: bool,
) -> None:
    """1 MB/s and reviews of 20 kB: all that waits would take far longer than a delivery may."""
    rate, count, length = 1e6, 4000, 20_000

    def link(broker: MemoryBroker, clock: ManualClock) -> Link:
        return Link(broker, clock, bytes_s=rate, transactional=transactional)

    settings = {
        "batching": {"max_in_flight_items": count},
        "delivery": {"guarantee": "exactly_once" if transactional else "at_least_once"},
    }
    async with rig(make_sink=link, settings=settings) as r:
        sent = await r.send(*(text(n, length=length) for n in range(count)))
        began_s, possible_s = r.clock.now_s(), count * (length + 700) / rate
        while r.pipeline.in_flight.items or r.committed() != count:
            await r.clock.advance(1)
            assert r.clock.now_s() - began_s < possible_s / 0.8
        check_once_in_order(r, sent)
        assert isinstance(r.sink, Link)
        assert r.sink.failures == 0


@pytest.mark.parametrize("transactional", [False, True])
async def test_a_link_that_becomes_slow_gets_less_at_once_until_it_carries_it(
    transactional: bool,
) -> None:
    def link(broker: MemoryBroker, clock: ManualClock) -> Link:
        return Link(broker, clock, bytes_s=1e9, transactional=transactional)

    settings = {"delivery": {"guarantee": "exactly_once" if transactional else "at_least_once"}}
    async with rig(make_sink=link, settings=settings) as r:
        assert isinstance(r.sink, Link)
        sent = await r.send(*(text(n, length=2_000) for n in range(2000)))
        await r.clock.advance(1)
        largest = max(r.sink.sizes)
        assert largest > 500_000
        r.sink.bytes_s = 10_000.0  # what went at once until now takes minutes
        r.sink.sizes.clear()
        sent += await r.send(*(text(n, length=2_000) for n in range(500)))
        for _ in range(2000):
            await r.clock.advance(1)
        assert r.committed() == len(sent)
        assert max(r.sink.sizes[-5:]) <= 40_000  # within the time that one should take
        r.sink.bytes_s = 1e9
        sent += await r.send(*(text(n, length=2_000) for n in range(2000)))
        await r.clock.advance(1)
        assert max(r.sink.sizes[-5:]) > 500_000
        check_once_in_order(r, sent)


@pytest.mark.parametrize("seed", range(10))
async def test_truthful_acknowledgements_mean_once_and_in_order(seed: int) -> None:
    """At least once, whatever part of a delivery fails, in labels, reviews and dead letters."""
    rng = random.Random(seed)

    def link(broker: MemoryBroker, clock: ManualClock) -> Link:
        return Link(broker, clock, bytes_s=rng.choice([3e3, 3e4, 1e7]), moods=rng)

    async with rig(partitions=2, make_sink=link) as r:
        sent: list[Position] = []
        for number in range(60):
            confidence = rng.choice(["0.9", "0.5"])
            line = text(number, length=rng.randint(1, 3000), confidence=confidence)
            if rng.random() < 0.1:
                sent += await r.send_raw(b"\xff", partition=rng.randint(0, 1))
            sent += await r.send(line, partition=rng.randint(0, 1))
            if rng.random() < 0.2:
                await r.clock.advance(rng.random())
        for _ in range(400):
            await r.clock.advance(1)
        assert r.pipeline.in_flight.items == 0
        check_once_in_order(r, sent)


async def test_the_deadline_counts_from_the_last_progress() -> None:
    """Slow is not dead: each attempt brings something."""

    class Trickle(MemorySink):
        async def deliver(
            self, partition: TopicPartition, outbounds: Sequence[Outbound], next_offset: int
        ) -> None:
            await super().deliver(partition, outbounds[:1], next_offset)
            if len(outbounds) > 1:
                raise PartlyDeliveredError("no answer in time", [0])

    settings = {"delivery": {"delivery_timeout_s": 5}}
    async with rig(make_sink=lambda broker, _: Trickle(broker), settings=settings) as r:
        sent = await r.send(*(text(n, length=10) for n in range(100)))
        await r.clock.advance(60)
        check_once_in_order(r, sent)
        assert not r.task.done()


async def test_a_delivery_that_waits_for_ever_ends_the_service_at_the_deadline() -> None:
    async with rig(settings={"delivery": {"delivery_timeout_s": 60}}) as r:
        r.sink.hold()
        await r.send("0.9 a")
        await r.clock.advance(59)
        assert not r.task.done()
        await r.clock.advance(2)
        with pytest.raises(BrokerError, match="no delivery within 60 s"):
            await r.task


async def test_one_partition_that_waits_holds_up_no_other() -> None:
    async with rig(partitions=2) as r:
        r.sink.hold(P0)
        await r.send("0.9 a", partition=0)
        for _ in range(5):
            await r.send("0.9 b", partition=1)
            await r.clock.advance(30)
        assert r.sources("labels", 1) == [0, 1, 2, 3, 4]
        assert r.sources("labels", 0) == []
        r.sink.release(P0)
        await r.clock.advance(1)
        assert r.sources("labels", 0) == [0]


async def test_blips_with_idle_time_between_them_do_not_add_up() -> None:
    """The first commit takes place and its answer is lost: nothing waits for minutes."""
    lost = PartitionLostError("texts", 0, "TimeoutError")
    settings = {"delivery": {"delivery_timeout_s": 60, "guarantee": "exactly_once"}}
    async with rig(transactional=True, settings=settings) as r:
        for number in range(3):
            r.sink.faults.fail("deliver", lost, effect=True)
            await r.send(f"0.9 t{number}")
            await r.clock.advance(200)
            assert r.committed() == number + 1
        r.sink.faults.fail("deliver", lost, times=3)
        await r.send("0.9 last")
        await r.clock.advance(30)
        assert r.sources("labels") == [0, 1, 2, 3]
        assert not r.task.done()


async def test_a_process_that_was_paused_writes_nothing_after_its_successor() -> None:
    """At least once: results that were ready are dropped when the group has another owner."""
    async with rig(partitions=2) as r:
        await r.send("0.9 a")
        await r.clock.advance(2)
        assert r.committed() == 1
        r.classifier.open.clear()
        await r.send("0.9 b", "0.9 c")
        r.source.expel()
        r.classifier.open.set()
        await r.clock.advance(20)
        assert r.sources("labels") == [0]
        began_s = r.clock.now_s()
        await r.source.revoke([P0])  # how it learns of that
        assert r.clock.now_s() == began_s  # and waits for nothing
        assert r.sources("labels") == [0]
        assert r.pipeline.in_flight.items == 0
        await r.source.assign([P0])
        await r.drain()
        assert r.sources("labels") == [0, 1, 2]
