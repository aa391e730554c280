"""A file as a record source: one partition, whose offsets are the line numbers.

With it the pipeline also classifies files, with the same batching, routing, order and limits as
for Kafka.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from streamlabel.consumer.core.ports import AssignmentListener, Clock, HeldBack
from streamlabel.consumer.core.records import Headers, Position, SourceRecord, TopicPartition
from streamlabel.consumer.core.waiting import wait_all
from streamlabel.consumer.files.text_files import FileRecord
from streamlabel.errors import StreamlabelError

__all__ = ["FileSource"]

# Bytes to read ahead: enough that the pipeline never waits for a disk.
_AHEAD_BYTES = 16 * 1024 * 1024
_AHEAD_ITEMS = 4096


class FileSource:
    """Reads records in a thread of its own; implements ``RecordSource``.

    The thread is a daemon, because nothing can interrupt a read from a terminal or a pipe.

    Args:
        records: read lazily; an error that it raises is raised by ``poll``.
        name: used as the topic's name in outputs.
        headers: of every record.

    Attributes:
        exhausted: set when all records were returned by ``poll``.
    """

    def __init__(
        self, records: Iterator[FileRecord], *, name: str, clock: Clock, headers: Headers = ()
    ) -> None:
        self.exhausted = asyncio.Event()
        self._partition = TopicPartition(name, 0)
        self._records = records
        self._headers = headers
        self._clock = clock
        self._ahead = _Ahead()

    async def start(self, listener: AssignmentListener) -> None:
        """Start reading."""
        await listener.assigned([self._partition])
        self._ahead.loop = asyncio.get_running_loop()
        threading.Thread(
            target=self._ahead.fill, args=(self._records,), name="file-reader", daemon=True
        ).start()

    async def poll(
        self, *, max_items: int, timeout_s: float, held: Container[TopicPartition] = ()
    ) -> Sequence[SourceRecord]:
        """Return records that were read, or wait for them."""
        if max_items == 0 or self._partition in held:
            return []
        taken, at_end = self._ahead.take(max_items)
        if at_end and not taken:
            self.exhausted.set()
        if not taken:
            await wait_all([self._ahead.has_more], timeout_s, self._clock)
            taken, _ = self._ahead.take(max_items)
        now_s, now_ms = self._clock.now_s(), self._clock.epoch_ms()
        return [
            SourceRecord(
                Position(*self._partition, record.line),
                None,
                record.value,
                self._headers,
                now_ms,
                now_s,
                undecodable=record.problem,
            )
            for record in taken
        ]

    async def commit(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Do nothing: a file has no group."""

    async def restart(self, partition: TopicPartition) -> None:
        """Do nothing: a file's sink never loses its partition."""

    def positions(self) -> Mapping[TopicPartition, int]:
        """Return nothing: there are no commits."""
        return {}

    async def still_owns(self, partition: TopicPartition) -> bool:
        """Return True: a file has no other reader."""
        return partition == self._partition

    def lag(self) -> Mapping[TopicPartition, int]:
        """Return nothing: the number of remaining lines is not known."""
        return {}

    def held_back(self) -> Mapping[TopicPartition, HeldBack]:
        """Return nothing: a file has no transactions."""
        return {}

    async def stop(self) -> None:
        """Stop the reader."""
        self._ahead.stop()


@dataclass(slots=True)
class _Ahead:
    """Records that the thread has read and the loop has not taken; bounded."""

    has_more: asyncio.Event = field(default_factory=asyncio.Event)
    loop: asyncio.AbstractEventLoop | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _records: deque[FileRecord] = field(default_factory=deque)
    _size_bytes: int = 0
    _at_end: bool = False
    _stopped: bool = False
    _error: Exception | None = None

    def fill(self, records: Iterator[FileRecord]) -> None:
        """Run in the thread."""
        try:
            for record in records:
                if not self._put(record):
                    return
        except (OSError, ValueError, StreamlabelError) as error:  # ValueError: closed meanwhile
            self._error = error
        with self._changed:
            self._at_end = True
        self._tell()

    def take(self, max_items: int) -> tuple[list[FileRecord], bool]:
        """Return up to ``max_items`` records, and whether the file's end was reached."""
        with self._changed:
            taken = [self._records.popleft() for _ in range(min(max_items, len(self._records)))]
            self._size_bytes -= sum(len(record.value or b"") for record in taken)
            self._changed.notify()
            if not self._records:
                self.has_more.clear()
            if self._error is not None and not taken:
                raise self._error
            return taken, self._at_end

    def stop(self) -> None:
        """Let ``fill`` return, unless a read blocks it."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _put(self, record: FileRecord) -> bool:
        with self._changed:
            self._changed.wait_for(self._has_room)
            if self._stopped:
                return False
            self._records.append(record)
            self._size_bytes += len(record.value or b"")
            is_first = len(self._records) == 1
        if is_first:
            self._tell()
        return True

    def _has_room(self) -> bool:
        is_full = self._size_bytes >= _AHEAD_BYTES or len(self._records) >= _AHEAD_ITEMS
        return self._stopped or not is_full

    def _tell(self) -> None:
        if self.loop is not None and not self._stopped:
            with suppress(RuntimeError):  # the event loop is closed, so nothing waits any more
                self.loop.call_soon_threadsafe(self.has_more.set)
