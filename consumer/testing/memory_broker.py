"""Shared by the in-memory doubles: topics, one group's offsets, and scripted errors."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import Headers, Position, SourceRecord, TopicPartition
from streamlabel.errors import BrokerError

__all__ = ["Committed", "Faults", "MemoryBroker", "Written"]

Operation = Literal["start", "poll", "commit", "deliver", "assigned"]


class Faults:
    """Scripted errors: which call of which operation fails, and with which error.

    Attributes:
        calls: operation -> how often it was called, failed calls included.
    """

    def __init__(self) -> None:
        self.calls: dict[Operation, int] = {}
        self._scripted: dict[tuple[Operation, int], tuple[BrokerError, bool]] = {}

    def fail(
        self,
        operation: Operation,
        error: BrokerError,
        *,
        nth: int = 1,
        times: int = 1,
        effect: bool = False,
    ) -> None:
        """Let ``times`` calls from the ``nth`` on raise ``error``; 1 is the next call.

        With ``effect`` the call takes effect first, as if only the response was lost.
        """
        first = self.calls.get(operation, 0) + nth
        for call in range(first, first + times):
            self._scripted[operation, call] = (error, effect)

    @contextmanager
    def during(self, operation: Operation) -> Iterator[None]:
        """Count one call and raise its scripted error, if any, before or after the body."""
        call = self.calls[operation] = self.calls.get(operation, 0) + 1
        error, effect = self._scripted.pop((operation, call), (None, False))
        if error is not None and not effect:
            raise error
        yield
        if error is not None:
            raise error


@dataclass(frozen=True, slots=True)
class Written:
    """One output and its place. ``outbound.position`` is its input."""

    at: Position
    outbound: Outbound


@dataclass(frozen=True, slots=True)
class Committed:
    """The group's next offset was stored."""

    partition: TopicPartition
    next_offset: int


@dataclass(slots=True)
class MemoryBroker:
    """Topics and one group's offsets.

    Attributes:
        journal: outputs and commits in the order in which they became visible.
        logs: the records of each partition; None is a transaction marker.
        first_offsets: offset of the oldest record; older offsets are out of range.
        owners: input partition -> the transactional sink that has fenced all earlier ones.
    """

    partitions: int = 1
    journal: list[Written | Committed] = field(default_factory=list)
    committed: dict[TopicPartition, int] = field(default_factory=dict)
    first_offsets: dict[TopicPartition, int] = field(default_factory=dict)
    owners: dict[TopicPartition, object] = field(default_factory=dict)
    logs: dict[TopicPartition, list[SourceRecord | None]] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def append(
        self,
        topic: str,
        value: bytes | None,
        *,
        partition: int = 0,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp_ms: int = 0,
        undecodable: str | None = None,
    ) -> Position:
        """Add a record to the end of a partition and wake its consumers."""
        log = self.logs.setdefault(TopicPartition(topic, partition), [])
        position = Position(topic, partition, len(log))
        log.append(
            SourceRecord(position, key, value, headers, timestamp_ms, 0.0, undecodable=undecodable)
        )
        self.changed.set()
        return position

    def mark(self, topic: str, *, partition: int = 0) -> None:
        """Add a transaction marker: an offset without a record."""
        self.logs.setdefault(TopicPartition(topic, partition), []).append(None)
        self.changed.set()

    def write(self, outbound: Outbound) -> None:
        """Append an output to the partition with the number of its input's, and to the journal."""
        at = self.append(
            outbound.topic,
            outbound.value,
            partition=outbound.position.partition % self.partitions,
            key=outbound.key,
            headers=outbound.headers,
        )
        self.journal.append(Written(at, outbound))

    def commit(self, partition: TopicPartition, next_offset: int) -> None:
        """Store the group's next offset, and add it to the journal."""
        self.committed[partition] = next_offset
        self.journal.append(Committed(partition, next_offset))

    def written(self, topic: str) -> list[Outbound]:
        """The outputs on ``topic``, in order over all its partitions."""
        outputs = (entry.outbound for entry in self.journal if isinstance(entry, Written))
        return [outbound for outbound in outputs if outbound.topic == topic]

    def partitions_of(self, topic: str) -> list[TopicPartition]:
        """All partitions of a topic."""
        return [TopicPartition(topic, number) for number in range(self.partitions)]
