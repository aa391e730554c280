"""A file as a record sink: one JSON object a line, in the order of the input."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO

import orjson

from streamlabel.config.settings import Settings
from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.output.headers import OURS

__all__ = ["FileSink", "Progress"]

# A file has no limit; a finite number allows arithmetic with it.
_NO_LIMIT_BYTES = 1 << 40


class Progress:
    """What has been written so far.

    Attributes:
        line: the last input line whose outputs are written.
        routes: outputs by ``labels``, ``review`` and ``dead_letter``.
        reasons: dead letters by reason.
        bad_lines: the first dead letters: line, reason, message.
    """

    _SHOWN_LINES = 20

    def __init__(self) -> None:
        self.line = 0
        self.routes: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.bad_lines: list[tuple[int, str, str]] = []

    def add_dead_letter(self, line: int, reason: str, message: str) -> None:
        """Count one; the first ones are kept for the report."""
        self.routes["dead_letter"] += 1
        self.reasons[reason] += 1
        if len(self.bad_lines) < self._SHOWN_LINES:
            self.bad_lines.append((line, reason, message))


class FileSink:
    """Writes to an open file; implements ``RecordSink``.

    A label or review is the value that its topic would get. A dead letter is a row with
    ``schema`` ``streamlabel.dead-letter-row/v1``, the reason and the line, without the value.

    Args:
        stream: written to in a thread, by one at a time.
        settings: of the service; their topics distinguish the outputs.
        on_progress: called after each write.
    """

    def __init__(
        self,
        stream: BinaryIO,
        settings: Settings,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self.progress = Progress()
        self._on_progress = on_progress
        self._stream = stream
        self._labels_topics = settings.labels_topics
        self._dead_letter_topic = settings.output.dead_letter_topic

    @property
    def commits_offsets(self) -> bool:
        """A file has no offsets to commit."""
        return False

    @property
    def is_atomic(self) -> bool:
        """True: a file accepts rows of any size."""
        return True

    async def start(self) -> None:
        """Do nothing: the file is open."""

    def limit_bytes(self, topic: str) -> int:
        """No limit."""
        return _NO_LIMIT_BYTES

    async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Do nothing: a file has one owner."""

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Do nothing: a file has one owner."""

    async def deliver(
        self, partition: TopicPartition, outbounds: Sequence[Outbound], next_offset: int
    ) -> None:
        """Write the rows and flush."""
        del partition
        rows = b"".join(self._row(outbound) + b"\n" for outbound in outbounds)
        await asyncio.to_thread(self._write, rows)
        self.progress.line = next_offset - 1
        self._on_progress(self.progress)

    async def stop(self) -> None:
        """Do nothing: the caller, who opened the file, closes it."""

    def _row(self, outbound: Outbound) -> bytes:
        if outbound.topic != self._dead_letter_topic:
            is_label = outbound.topic in self._labels_topics
            self.progress.routes["labels" if is_label else "review"] += 1
            return outbound.value or b"{}"
        about = {
            name.removeprefix(OURS): (value or b"").decode("utf-8", "replace")
            for name, value in outbound.headers
            if name.startswith(OURS)
        }
        line = outbound.position.offset
        reason = about.get("error-reason", "")
        # the decoder's message is about a Kafka record; here the row of the file cannot be read
        message = about.get("error-message", "").removeprefix("the client library cannot read it: ")
        self.progress.add_dead_letter(line, reason, message)
        row: dict[str, Any] = {
            "schema": "streamlabel.dead-letter-row/v1",
            "route": "dead_letter",
            "reason": reason,
            "message": message,
            "source": {"topic": outbound.position.topic, "partition": 0, "offset": line},
        }
        if "task" in about:
            row["task"] = about["task"]
        return orjson.dumps(row)

    def _write(self, rows: bytes) -> None:
        self._stream.write(rows)
        self._stream.flush()
