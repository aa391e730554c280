"""The interfaces between the pipeline and its environment; implemented for Kafka, files and memory.

Errors: implementations raise only ``BrokerError`` (and its subclasses).
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import InitVar, field
from typing import Literal, Protocol, runtime_checkable

from streamlabel.consumer.core.metric_names import CounterName, GaugeName, HistogramName
from streamlabel.consumer.core.records import Headers, Position, SourceRecord, TopicPartition
from streamlabel.models.core.clock import Clock
from streamlabel.models.core.values import value

__all__ = [
    "AssignmentListener",
    "BrokerRole",
    "Clock",
    "HeldBack",
    "Metrics",
    "Outbound",
    "RecordSink",
    "RecordSource",
    "ReportsConnections",
    "bytes_of",
]

# The brokers that records are read from, the group's coordinator, those that outputs are written
# to.
BrokerRole = Literal["consumer", "coordinator", "producer"]


@value
class Outbound:
    """One record to write.

    Attributes:
        position: of the input record that caused it.
        size_bytes: upper bound of its size on the wire, record framing included; computed once,
            because limits, requests and pace all need it.
        headers_bytes: ``bytes_of`` its headers, if that is known.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    position: Position
    size_bytes: int = field(init=False, repr=False, compare=False)
    headers_bytes: InitVar[int | None] = None

    def __post_init__(self, headers_bytes: int | None) -> None:
        size = 32 + len(self.key or b"") + len(self.value or b"")  # 32: varints, attributes, deltas
        size += bytes_of(self.headers) if headers_bytes is None else headers_bytes
        object.__setattr__(self, "size_bytes", size)


def bytes_of(headers: Headers) -> int:
    """Return an upper bound of the size of headers on the wire."""
    size = 0
    for name, header in headers:
        name_bytes = len(name) if name.isascii() else len(name.encode())
        size += 10 + name_bytes + len(header or b"")
    return size


@value
class HeldBack:
    """The part of a partition that cannot be read yet because of an open transaction.

    Attributes:
        first_offset: where the oldest open transaction begins; without one, the partition's end.
        offsets: number of offsets from there to the end.
    """

    first_offset: int
    offsets: int


class AssignmentListener(Protocol):
    """Called by the source when partitions are assigned and revoked; both calls are awaited."""

    async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions were assigned. The source reads the committed offsets only afterwards."""
        ...

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions are about to be revoked: finish what is in flight in time, then return."""
        ...


class RecordSource(Protocol):
    """Where records come from."""

    async def start(self, listener: AssignmentListener) -> None:
        """Join the group. Raises BrokerError when that is impossible."""
        ...

    async def poll(
        self, *, max_items: int, timeout_s: float, held: Container[TopicPartition] = ()
    ) -> Sequence[SourceRecord]:
        """Return up to ``max_items`` records, in offset order per partition.

        Records of the partitions in ``held`` are not returned now. Of several topics with a
        backlog, records are returned in proportion to the topics' weights. Waits up to
        ``timeout_s`` for the first one, and during a rebalance for its end. Returns only records of
        partitions whose ``assigned`` call has returned. ``max_items=0`` returns nothing and shows
        the group that this member is alive. Never cancelled by the caller.

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
        """Restart a partition at the committed offset, after ``deliver`` raised PartitionLostError.

        If the partition is still assigned: awaits the listener's ``assigned`` for it, reads the
        committed offset, seeks. Else does nothing. ``poll`` returns none of its records meanwhile.
        """
        ...

    def positions(self) -> Mapping[TopicPartition, int]:
        """Return the next offset of each ready partition that has advanced since reading began.

        Every offset below was returned by ``poll``, in this assignment or before, or holds no
        record for us: transaction markers, aborted records, compacted ones. Call it right after
        ``poll`` returned, before anything else is awaited.
        """
        ...

    async def still_owns(self, partition: TopicPartition) -> bool:
        """Return whether the partition is still assigned to us; asked before outputs are sent.

        Costs nothing if the coordinator has answered recently, else one request, from which a
        process that was paused learns that its partitions were reassigned. False also if the
        coordinator does not answer. Raises BrokerError(not retriable) if access to the group is
        denied.
        """
        ...

    def lag(self) -> Mapping[TopicPartition, int]:
        """Records between the read position and the end, per assigned partition, as last seen."""
        ...

    def held_back(self) -> Mapping[TopicPartition, HeldBack]:
        """Offsets behind open transactions, per assigned partition, as last seen; not lag."""
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
        """Whether nothing of a delivery is written if one of its outputs is refused."""
        ...

    async def start(self) -> None:
        """Connect. Raises BrokerError when that is impossible."""
        ...

    def limit_bytes(self, topic: str) -> int:
        """Return the largest ``Outbound.size_bytes`` that ``topic`` accepts."""
        ...

    async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Prepare to deliver for these input partitions; fences earlier owners if it can."""
        ...

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop delivering for these input partitions."""
        ...

    async def deliver(
        self, partition: TopicPartition, outbounds: Sequence[Outbound], next_offset: int
    ) -> None:
        """Write ``outbounds`` in order and return when all are acknowledged.

        Called once at a time for an input partition, for several partitions concurrently. With
        ``commits_offsets`` the outputs and ``next_offset`` are one transaction: all or nothing.
        Waits for as long as it can continue without duplicating outputs; the caller cancels a call
        that takes too long, and outputs that were not sent by then are never sent.

        Raises:
            OutputRefusedError: some are refused permanently. The caller replaces those and calls
                again with all outputs that the error does not list as written.
            PartlyDeliveredError: retriable; call again with those not listed as written.
            PartitionLostError: with ``commits_offsets`` only: drop the partition's in-flight
                records, then ``RecordSource.restart``; never call again with the same outputs.
            BrokerError: retriable: whether they were written is not known; call again.
                Not retriable: stop the service (access denied, fenced by a newer owner).
        """
        ...

    async def stop(self) -> None:
        """Disconnect. Bounded in time; safe to call twice."""
        ...


@runtime_checkable
class ReportsConnections(Protocol):
    """A source or sink that uses brokers and reports whether they answer."""

    async def connections(self) -> Mapping[BrokerRole, bool]:
        """Return role -> whether its brokers answer; without roles that need no broker now.

        Takes a few seconds at most, and does not raise if brokers are unreachable.
        """
        ...


class Metrics(Protocol):
    """Counts what happens; names are a closed set."""

    def increment(self, name: CounterName, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        ...

    def observe(
        self, name: HistogramName, value: float, *, trace_id: str | None = None, **labels: str
    ) -> None:
        """Put one value into a histogram, with the trace that it is an example of."""
        ...

    def observe_all(self, name: HistogramName, values: Sequence[float], **labels: str) -> None:
        """Put several values into a histogram: cheaper than one call for each."""
        ...

    def set(self, name: GaugeName, value: float, **labels: str) -> None:
        """Set a gauge."""
        ...
