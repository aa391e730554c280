"""The record source on an in-memory broker: for flow tests, with faults on demand."""

import asyncio
from collections.abc import Container, Iterable, Mapping, Sequence

from streamlabel.consumer.core.fair_shares import FairShares
from streamlabel.consumer.core.ports import AssignmentListener, Clock, HeldBack
from streamlabel.consumer.core.records import SourceRecord, TopicPartition
from streamlabel.consumer.testing.memory_broker import Committed, Faults, MemoryBroker, Written
from streamlabel.consumer.testing.memory_sink import MemorySink
from streamlabel.errors import BrokerError

__all__ = ["Committed", "Faults", "MemoryBroker", "MemorySink", "MemorySource", "Written"]

_HEARTBEAT_S = 1.0


class MemorySource:
    """A group member with partitions that the test assigns; implements ``RecordSource``.

    ``start`` assigns ``partitions`` (all of the topics by default); ``assign`` and ``revoke``
    simulate rebalances. ``topics`` is the name of a topic, or weights by the names of several.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        topics: str | Mapping[str, float],
        clock: Clock,
        *,
        partitions: Iterable[TopicPartition] | None = None,
    ) -> None:
        self.faults = Faults()
        self.stopped = False
        self._broker = broker
        self._clock = clock
        weights = {topics: 1.0} if isinstance(topics, str) else topics
        self._shares = FairShares(weights)
        everything = [each for topic in weights for each in broker.partitions_of(topic)]
        self._wanted = everything if partitions is None else list(partitions)
        self._listener: AssignmentListener | None = None
        self._assigned: set[TopicPartition] = set()
        self._expelled = False
        self._read: dict[TopicPartition, int] = {}  # next offset to return, ready partitions only
        self._began: dict[TopicPartition, int] = {}

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        """The partitions of this member."""
        return frozenset(self._assigned)

    async def start(self, listener: AssignmentListener) -> None:
        """Join the group, and get the partitions."""
        with self.faults.during("start"):
            self._listener = listener
            await self.assign(self._wanted)

    async def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Assign partitions: call the listener, read the committed offsets, then be ready."""
        gained = list(partitions)
        assert self._listener is not None, "start first"  # noqa: S101 a test double's misuse
        self._assigned.update(gained)
        self._expelled = False
        await self._listener.assigned(gained)
        for partition in gained:
            if partition in self._assigned:
                self._began[partition] = self._broker.committed.get(partition, 0)
                self._read[partition] = self._began[partition]
        self._broker.changed.set()

    async def revoke(self, partitions: Iterable[TopicPartition]) -> None:
        """Revoke partitions: return no more records, call the listener, then remove them."""
        lost = list(partitions)
        assert self._listener is not None, "start first"  # noqa: S101 a test double's misuse
        for partition in lost:
            self._read.pop(partition, None)
        await self._listener.revoked(lost)
        self._assigned.difference_update(lost)

    def expel(self) -> None:
        """Reassign this member's partitions without its knowledge, as if it was paused.

        It is informed by a later ``revoke``.
        """
        self._expelled = True

    async def still_owns(self, partition: TopicPartition) -> bool:
        """Return whether the group assigns the partition to this member."""
        return partition in self._assigned and not self._expelled

    async def restart(self, partition: TopicPartition) -> None:
        """Fence, re-read the committed offset and continue from there, if still assigned."""
        self._read.pop(partition, None)
        await self._clock.sleep(_HEARTBEAT_S)  # as a member of a real group does
        if partition in self._assigned:
            await self.assign([partition])

    async def poll(
        self, *, max_items: int, timeout_s: float, held: Container[TopicPartition] = ()
    ) -> Sequence[SourceRecord]:
        """Return records, or wait for them."""
        with self.faults.during("poll"):
            deadline_s = self._clock.now_s() + timeout_s
            while True:
                self._broker.changed.clear()
                records = self._take(max_items, held)
                wait_s = deadline_s - self._clock.now_s()
                if records or max_items == 0 or wait_s <= 0:
                    return records
                await self._changed_or_slept(wait_s)

    async def _changed_or_slept(self, seconds: float) -> None:
        waiters = [
            asyncio.ensure_future(self._broker.changed.wait()),
            asyncio.ensure_future(self._clock.sleep(seconds)),
        ]
        try:
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()

    def _take(self, max_items: int, held: Container[TopicPartition]) -> list[SourceRecord]:
        for partition, offset in self._read.items():
            first = self._broker.first_offsets.get(partition, 0)
            if offset < first:
                raise BrokerError(f"{partition}: offset {offset} is out of range; first is {first}")
        taken: list[SourceRecord] = []
        free = [partition for partition in self._read if partition not in held]
        for topic, quota in self._shares.turns(max_items, {partition.topic for partition in free}):
            before, most = len(taken), len(taken) + quota
            for partition in free:
                if partition.topic == topic:
                    self._take_from(partition, taken, most)
            self._shares.took(len(taken) - before)
        return taken

    def _take_from(self, partition: TopicPartition, taken: list[SourceRecord], most: int) -> None:
        now_s = self._clock.now_s()
        log = self._broker.logs.get(partition, [])
        while self._read[partition] < len(log) and len(taken) < most:
            stored = log[self._read[partition]]
            self._read[partition] += 1
            if stored is not None:  # a marker
                taken.append(_received(stored, now_s))

    async def commit(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Store the offsets of partitions that are still assigned."""
        with self.faults.during("commit"):
            if self._expelled:
                raise BrokerError("the group does not know this member", True)
            for partition, next_offset in next_offsets.items():
                if partition in self._assigned:
                    self._broker.commit(partition, next_offset)

    def positions(self) -> Mapping[TopicPartition, int]:
        """Next offset to return, of partitions that were read."""
        return {
            partition: offset
            for partition, offset in self._read.items()
            if offset > self._began[partition]
        }

    def lag(self) -> Mapping[TopicPartition, int]:
        """Records not yet returned, per ready partition."""
        return {
            partition: len(self._broker.logs.get(partition, [])) - offset
            for partition, offset in self._read.items()
        }

    def held_back(self) -> Mapping[TopicPartition, HeldBack]:
        """Return nothing: there are no open transactions."""
        return {
            partition: HeldBack(len(self._broker.logs.get(partition, [])), 0)
            for partition in self._read
        }

    async def stop(self) -> None:
        """Leave the group; nothing is committed."""
        self.stopped = True
        self._read.clear()
        self._assigned.clear()
        self._broker.changed.set()


def _received(stored: SourceRecord, now_s: float) -> SourceRecord:
    position, key, value, headers = stored.position, stored.key, stored.value, stored.headers
    return SourceRecord(
        position, key, value, headers, stored.timestamp_ms, now_s, undecodable=stored.undecodable
    )
