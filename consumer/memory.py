"""Both record ports over a broker in memory: for flow tests, with faults on demand."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from streamlabel.consumer.memory_broker import Committed, Faults, MemoryBroker, Written
from streamlabel.consumer.ports import AssignmentListener, Clock, Outbound
from streamlabel.consumer.records import SourceRecord, TopicPartition
from streamlabel.errors import BrokerError, OutputRefusedError, PartitionLostError

__all__ = ["Committed", "Faults", "MemoryBroker", "MemorySink", "MemorySource", "Written"]

_HEARTBEAT_S = 1.0


class MemorySource:
    """A group member that owns what the test gives it; implements ``RecordSource``.

    ``start`` assigns ``partitions`` (all of the topic by default); ``assign`` and ``revoke`` are
    the rebalances.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        topic: str,
        clock: Clock,
        *,
        partitions: Iterable[TopicPartition] | None = None,
    ) -> None:
        self.faults = Faults()
        self.stopped = False
        self._broker = broker
        self._clock = clock
        self._wanted = broker.partitions_of(topic) if partitions is None else list(partitions)
        self._listener: AssignmentListener | None = None
        self._assigned: set[TopicPartition] = set()
        self._read: dict[TopicPartition, int] = {}  # next offset to return, ready partitions only

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        """What this member owns now."""
        return frozenset(self._assigned)

    async def start(self, listener: AssignmentListener) -> None:
        """Join, and get the partitions."""
        with self.faults.during("start"):
            self._listener = listener
            await self.assign(self._wanted)

    async def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Gain partitions: tell the listener, read the committed offsets, then be ready."""
        gained = list(partitions)
        assert self._listener is not None, "start first"  # noqa: S101 a test double's misuse
        self._assigned.update(gained)
        await self._listener.assigned(gained)
        for partition in gained:
            if partition in self._assigned:
                self._read[partition] = self._broker.committed.get(partition, 0)
        self._broker.changed.set()

    async def revoke(self, partitions: Iterable[TopicPartition]) -> None:
        """Lose partitions: return no more of them, tell the listener, then let go."""
        lost = list(partitions)
        assert self._listener is not None, "start first"  # noqa: S101 a test double's misuse
        for partition in lost:
            self._read.pop(partition, None)
        await self._listener.revoked(lost)
        self._assigned.difference_update(lost)

    async def restart(self, partition: TopicPartition) -> None:
        """Fence, re-read the committed offset and go on from there, if still assigned."""
        self._read.pop(partition, None)
        await self._clock.sleep(_HEARTBEAT_S)  # as a member of a real group does
        if partition in self._assigned:
            await self.assign([partition])

    async def poll(self, *, max_items: int, timeout_s: float) -> Sequence[SourceRecord]:
        """Return what is there, or wait for it."""
        with self.faults.during("poll"):
            deadline_s = self._clock.now_s() + timeout_s
            while True:
                self._broker.changed.clear()
                records = self._take(max_items)
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

    def _take(self, max_items: int) -> list[SourceRecord]:
        taken: list[SourceRecord] = []
        now_s = self._clock.now_s()
        for partition, offset in self._read.items():
            first = self._broker.first_offsets.get(partition, 0)
            if offset < first:
                raise BrokerError(f"{partition}: offset {offset} is out of range; first is {first}")
            log = self._broker.logs.get(partition, [])
            for stored in log[offset : offset + max_items - len(taken)]:
                taken.append(_received(stored, now_s))
                self._read[partition] = stored.position.offset + 1
        return taken

    async def commit(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Store the offsets of partitions that are still assigned."""
        with self.faults.during("commit"):
            for partition, next_offset in next_offsets.items():
                if partition in self._assigned:
                    self._broker.commit(partition, next_offset)

    def lag(self) -> Mapping[TopicPartition, int]:
        """Records not yet returned, per ready partition."""
        return {
            partition: len(self._broker.logs.get(partition, [])) - offset
            for partition, offset in self._read.items()
        }

    async def stop(self) -> None:
        """Leave; nothing is committed."""
        self.stopped = True
        self._read.clear()
        self._assigned.clear()
        self._broker.changed.set()


def _received(stored: SourceRecord, now_s: float) -> SourceRecord:
    position, key, value, headers = stored.position, stored.key, stored.value, stored.headers
    return SourceRecord(
        position, key, value, headers, stored.timestamp_ms, now_s, undecodable=stored.undecodable
    )


class MemorySink:
    """Writes to a ``MemoryBroker``; implements ``RecordSink``.

    Args:
        transactional: outputs and next offset are one step, and ``assigned`` fences other sinks.
        limits: topic -> largest output; a refused one raises OutputRefusedError.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        *,
        transactional: bool = False,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        self.faults = Faults()
        self.stopped = False
        self.waiting = 0  # deliveries that ``hold`` keeps
        self._broker = broker
        self._transactional = transactional
        self._limits = dict(limits or {})
        self._gates: dict[TopicPartition | None, asyncio.Event] = {}
        self._tokens: dict[TopicPartition, object] = {}  # ours; the broker's may be newer

    @property
    def commits_offsets(self) -> bool:
        """True if outputs and offset are one step."""
        return self._transactional

    @property
    def is_atomic(self) -> bool:
        """As the sink on Kafka that it stands for."""
        return self._transactional

    def hold(self, partition: TopicPartition | None = None) -> None:
        """Let deliveries (of one input partition, or all) wait until ``release``."""
        self._gates[partition] = asyncio.Event()

    def release(self, partition: TopicPartition | None = None) -> None:
        """Let held deliveries go on."""
        self._gates.pop(partition).set()

    def limit(self, topic: str, limit_bytes: int) -> None:
        """Let ``topic`` take no larger outputs from now on."""
        self._limits[topic] = limit_bytes

    async def start(self) -> None:
        """Connect."""
        with self.faults.during("start"):
            pass

    def limit_bytes(self, topic: str) -> int:
        """The limit given for the topic, else 1 MB."""
        return self._limits.get(topic, 1_000_000)

    async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Become the only sink that may deliver for these partitions, if transactional."""
        with self.faults.during("assigned"):
            for partition in partitions:
                self._broker.owners[partition] = self._tokens[partition] = object()

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget these partitions."""
        for partition in partitions:
            self._tokens.pop(partition, None)

    async def deliver(
        self, partition: TopicPartition, outbounds: Sequence[Outbound], next_offset: int
    ) -> None:
        """Write the outputs in order; with ``transactional`` also the offset, or nothing."""
        token = self._tokens.get(partition)
        with self.faults.during("deliver"):
            for key in (None, partition):
                if key in self._gates:
                    await self._wait(self._gates[key])
            if self._transactional and not self._owns(partition, token):
                raise PartitionLostError(partition.topic, partition.partition, "a newer owner")
            if refused := self._refused(outbounds):
                raise OutputRefusedError(refused)
            for outbound in outbounds:
                self._broker.write(outbound)
            if self._transactional:
                self._broker.commit(partition, next_offset)

    def _owns(self, partition: TopicPartition, token: object | None) -> bool:
        return token is not None and token is self._broker.owners.get(partition)

    async def _wait(self, gate: asyncio.Event) -> None:
        self.waiting += 1
        try:
            await gate.wait()
        finally:
            self.waiting -= 1

    def _refused(self, outbounds: Sequence[Outbound]) -> dict[int, str]:
        return {
            index: f"larger than {self.limit_bytes(outbound.topic)} bytes"
            for index, outbound in enumerate(outbounds)
            if outbound.size_bytes > self.limit_bytes(outbound.topic)
        }

    async def stop(self) -> None:
        """Disconnect."""
        self.stopped = True
