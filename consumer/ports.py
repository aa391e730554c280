"""What the pipeline needs from the world. Kafka, memory and tests implement these.

Errors: implementations raise only ``BrokerError`` (and its subclasses).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from streamlabel.consumer.metric_names import CounterName, GaugeName, HistogramName
from streamlabel.consumer.records import Headers, Position, SourceRecord, TopicPartition
from streamlabel.models.values import value

__all__ = [
    "AssignmentListener",
    "Clock",
    "Metrics",
    "Outbound",
    "RecordSink",
    "RecordSource",
]


@value
class Outbound:
    """One record to write; ``position`` is the input record that caused it."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    position: Position

    @property
    def size_bytes(self) -> int:
        """Upper bound of what it takes on the wire, record framing included."""
        size = 32 + len(self.key or b"") + len(self.value or b"")  # 32: varints, attributes, deltas
        for name, header in self.headers:
            size += 10 + len(name.encode()) + len(header or b"")
        return size


class AssignmentListener(Protocol):
    """Told by the source about partitions gained and lost; both calls are awaited."""

    async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions were gained. The source reads the committed offsets only afterwards."""
        ...

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions are about to go: finish what is in flight within the budget, then return."""
        ...


class RecordSource(Protocol):
    """Where records come from."""

    async def start(self, listener: AssignmentListener) -> None:
        """Join the group. Raises BrokerError when that is impossible."""
        ...

    async def poll(self, *, max_items: int, timeout_s: float) -> Sequence[SourceRecord]:
        """Return up to ``max_items`` records, in offset order per partition.

        Waits up to ``timeout_s`` for the first one, and during a rebalance for its end. Returns
        only records of partitions whose ``assigned`` call has returned. ``max_items=0`` returns
        nothing and tells the group that this member is alive. Never cancelled by the caller.

        Raises:
            BrokerError: not retriable: the offset is out of range and the policy says stop, the
                topic is gone, access is denied.
        """
        ...

    async def commit(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Store the next offsets for the group.

        Partitions that are no longer assigned are left out. Raises BrokerError(retriable=True)
        if the group is rebalancing or the broker does not answer.
        """
        ...

    async def restart(self, partition: TopicPartition) -> None:
        """Begin again at the committed offset, after ``deliver`` raised PartitionLostError.

        If the partition is still assigned: awaits the listener's ``assigned`` for it, reads the
        committed offset, seeks. Else does nothing. ``poll`` returns none of its records meanwhile.
        """
        ...

    def lag(self) -> Mapping[TopicPartition, int]:
        """Records between the read position and the end, per assigned partition, as last seen."""
        ...

    async def stop(self) -> None:
        """Leave the group, without a commit. Bounded in time; safe to call twice."""
        ...


class RecordSink(Protocol):
    """Where outputs go."""

    @property
    def commits_offsets(self) -> bool:
        """True if ``deliver`` also commits ``next_offset`` (exactly once)."""
        ...

    @property
    def is_atomic(self) -> bool:
        """Whether a delivery with a refused output leaves nothing written."""
        ...

    async def start(self) -> None:
        """Connect. Raises BrokerError when that is impossible."""
        ...

    def limit_bytes(self, topic: str) -> int:
        """Largest ``Outbound.size_bytes`` that ``topic`` takes."""
        ...

    async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Get ready to deliver for these input partitions; fences earlier owners if it can."""
        ...

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver no more for these input partitions."""
        ...

    async def deliver(
        self, partition: TopicPartition, outbounds: Sequence[Outbound], next_offset: int
    ) -> None:
        """Write ``outbounds`` in order and return when all are acknowledged.

        Called for one input partition at a time, for many at once. With ``commits_offsets`` the
        outputs and ``next_offset`` are one transaction: all or nothing.

        Raises:
            OutputRefusedError: some are refused for good. The caller replaces those and calls
                again with what the error does not name as written.
            PartitionLostError: with ``commits_offsets`` only: drop the partition's in-flight
                records, then ``RecordSource.restart``; never call again with the same outputs.
            BrokerError: retriable: whether they were written is not known; call again.
                Not retriable: stop the service (access denied, fenced by a newer owner).
        """
        ...

    async def stop(self) -> None:
        """Disconnect. Bounded in time; safe to call twice."""
        ...


class Clock(Protocol):
    """Time as an argument."""

    def now_s(self) -> float:
        """Monotonic seconds."""
        ...

    def epoch_ms(self) -> int:
        """Milliseconds since 1970, for the wire."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Metrics(Protocol):
    """Counts what happens; names are a closed set."""

    def increment(self, name: CounterName, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        ...

    def observe(self, name: HistogramName, value: float) -> None:
        """Put one value into a histogram."""
        ...

    def set(self, name: GaugeName, value: float, **labels: str) -> None:
        """Set a gauge."""
        ...
