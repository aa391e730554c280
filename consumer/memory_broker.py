"""What the in-memory doubles share: topics, one group's offsets, and a script of errors."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from streamlabel.consumer.ports import Outbound
from streamlabel.consumer.records import Headers, Position, SourceRecord, TopicPartition
from streamlabel.errors import BrokerError

__all__ = ["Committed", "Faults", "MemoryBroker", "Written"]

Operation = Literal["start", "poll", "commit", "deliver", "assigned"]


class Faults:
    """A script of errors: which call of which operation fails, and with what.

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

        With ``effect`` the call does its work first: the answer was lost, not the request.
        """
        first = self.calls.get(operation, 0) + nth
        for call in range(first, first + times):
            self._scripted[operation, call] = (error, effect)

    @contextmanager
    def during(self, operation: Operation) -> Iterator[None]:
        """Count one call and raise what is scripted for it, before or after the body."""
        call = self.calls[operation] = self.calls.get(operation, 0) + 1
        error, effect = self._scripted.pop((operation, call), (None, False))
        if error is not None and not effect:
            raise error
        yield
        if error is not None:
            raise error


@dataclass(frozen=True, slots=True)
class Written:
    """One output, where it came to stand. ``outbound.position`` is its input."""

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
        first_offsets: the oldest record that is left; anything older is out of range.
        owners: input partition -> the transactional sink that fenced all earlier ones.
    """

    partitions: int = 1
    journal: list[Written | Committed] = field(default_factory=list)
    committed: dict[TopicPartition, int] = field(default_factory=dict)
    first_offsets: dict[TopicPartition, int] = field(default_factory=dict)
    owners: dict[TopicPartition, object] = field(default_factory=dict)
    logs: dict[TopicPartition, list[SourceRecord]] = field(default_factory=dict)
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
        """Add a record to the end of a partition and wake whoever polls it."""
        log = self.logs.setdefault(TopicPartition(topic, partition), [])
        position = Position(topic, partition, len(log))
        log.append(
            SourceRecord(position, key, value, headers, timestamp_ms, 0.0, undecodable=undecodable)
        )
        self.changed.set()
        return position

    def write(self, outbound: Outbound) -> None:
        """Append an output to the partition of its input's number and note it in the journal."""
        at = self.append(
            outbound.topic,
            outbound.value,
            partition=outbound.position.partition % self.partitions,
            key=outbound.key,
            headers=outbound.headers,
        )
        self.journal.append(Written(at, outbound))

    def commit(self, partition: TopicPartition, next_offset: int) -> None:
        """Store the group's next offset and note it in the journal."""
        self.committed[partition] = next_offset
        self.journal.append(Committed(partition, next_offset))

    def written(self, topic: str) -> list[Outbound]:
        """What was written to ``topic``, in order over all its partitions."""
        outputs = (entry.outbound for entry in self.journal if isinstance(entry, Written))
        return [outbound for outbound in outputs if outbound.topic == topic]

    def partitions_of(self, topic: str) -> list[TopicPartition]:
        """All partitions of a topic."""
        return [TopicPartition(topic, number) for number in range(self.partitions)]
