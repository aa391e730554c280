"""The record sink on an in-memory broker: for flow tests, with faults on demand."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.testing.memory_broker import Faults, MemoryBroker
from streamlabel.errors import OutputRefusedError, PartitionLostError, RecordError

__all__ = ["MemorySink"]


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
        self._rule: Callable[[Outbound], str | None] = lambda _: None
        self._gates: dict[TopicPartition | None, asyncio.Event] = {}
        self._tokens: dict[TopicPartition, object] = {}  # ours; the broker's may be newer

    @property
    def commits_offsets(self) -> bool:
        """True if outputs and offset are one step."""
        return self._transactional

    @property
    def is_atomic(self) -> bool:
        """As the Kafka sink that it simulates."""
        return self._transactional

    def hold(self, partition: TopicPartition | None = None) -> None:
        """Let deliveries (of one input partition, or all) wait until ``release``."""
        self._gates[partition] = asyncio.Event()

    def release(self, partition: TopicPartition | None = None) -> None:
        """Let held deliveries continue."""
        self._gates.pop(partition).set()

    def limit(self, topic: str, limit_bytes: int) -> None:
        """Let ``topic`` accept no larger outputs from now on."""
        self._limits[topic] = limit_bytes

    def refuse(self, rule: Callable[[Outbound], str | None]) -> None:
        """Refuse outputs for which ``rule`` returns a reason, whatever their size."""
        self._rule = rule

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

    def _refused(self, outbounds: Sequence[Outbound]) -> dict[int, RecordError]:
        refused = {}
        for index, outbound in enumerate(outbounds):
            limit = self.limit_bytes(outbound.topic)
            if outbound.size_bytes > limit:
                why = f"larger than {limit} bytes"
                refused[index] = RecordError("output_too_large", why)
            elif (rule := self._rule(outbound)) is not None:
                refused[index] = RecordError("output_refused", rule)
        return refused

    async def stop(self) -> None:
        """Disconnect."""
        self.stopped = True
