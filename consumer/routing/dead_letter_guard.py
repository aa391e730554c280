"""Stops the service when too many dead letters indicate a systematic fault. Pure.

A faulty release, a changed schema or the wrong topic would otherwise turn a whole topic into dead
letters. Source of the idea: getsentry/arroyo, ``dlq.py`` (DlqLimit).
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping

from streamlabel.consumer.core.records import Position, TopicPartition
from streamlabel.errors import DeadLetterGuardError

__all__ = ["DeadLetterGuard"]

# The number of latest dead letters that an error message summarizes.
_REMEMBERED = 100
_NAMED = 3


class _Seen:
    """One record in the window; it may become a dead letter later."""

    __slots__ = ("is_dead", "is_in_window")

    def __init__(self, is_dead: bool) -> None:
        self.is_dead = is_dead
        self.is_in_window = True


class DeadLetterGuard:
    """Checks the fraction of dead letters in a window, and their run length per partition.

    Args:
        max_consecutive: dead letters in a row in one partition that are tolerated; 0: any number.
        max_ratio: fraction of the window that is tolerated; 1: any.
        window_items: size of the window; the ratio is checked only when the window is full.
    """

    def __init__(self, *, max_consecutive: int, max_ratio: float, window_items: int) -> None:
        self._max_consecutive = max_consecutive
        self._max_ratio = max_ratio
        self._window: deque[_Seen] = deque(maxlen=window_items)
        self._dead_in_window = 0
        self._runs: dict[TopicPartition, int] = {}  # up to the last record that was judged
        self._judged: dict[TopicPartition, int] = {}
        # Counted and not yet delivered: offset -> record, and the run before them.
        self._open: dict[TopicPartition, dict[int, _Seen]] = {}
        self._runs_before: dict[TopicPartition, int] = {}
        self._causes: deque[str] = deque(maxlen=_REMEMBERED)

    def judge(
        self, partition: TopicPartition, offsets: Iterable[int], causes: Mapping[int, str]
    ) -> None:
        """Count the outcomes of records, the first time they are about to be written.

        After a failed delivery records are read again from the committed offset: if they were
        counted again, one dead letter during an outage of the broker would look like a long run.

        Args:
            partition: of the records.
            offsets: of the records, in their order.
            causes: of those that become dead letters, by offset: reason and message.

        Raises:
            DeadLetterGuardError: as ``observe``.
        """
        judged = self._judged.get(partition, -1)
        undelivered = self._open.setdefault(partition, {})
        for offset in offsets:
            if offset > judged:
                self._judged[partition] = judged = offset
                seen = undelivered[offset] = _Seen(offset in causes)
                self._count(partition, seen, causes.get(offset, ""))

    def refused(self, position: Position, *, cause: str) -> None:
        """Count a record as a dead letter that was counted as good before.

        It keeps its place among the other records: runs are counted in the order of the records.

        Raises:
            DeadLetterGuardError: as ``observe``. The record must not be written.
        """
        partition = position.topic_partition
        seen = self._open.get(partition, {}).get(position.offset)
        if seen is None or seen.is_dead:
            return  # counted in an earlier delivery of the same record
        seen.is_dead = True
        self._causes.append(cause)
        self._dead_in_window += seen.is_in_window
        run, longest = self._runs_before.get(partition, 0), 0
        for offset, each in self._open[partition].items():
            run = run + 1 if each.is_dead else 0
            if offset >= position.offset:
                longest = max(longest, run)
                if not each.is_dead:
                    break
        else:
            self._runs[partition] = run
        self._judge_run(partition, longest)
        self._judge_ratio()

    def delivered(self, partition: TopicPartition, next_offset: int) -> None:
        """Note that the outputs of records below ``next_offset`` are written."""
        undelivered = self._open.get(partition)
        if undelivered is None:
            return
        run = self._runs_before.get(partition, 0)
        for offset in [offset for offset in undelivered if offset < next_offset]:
            run = run + 1 if undelivered.pop(offset).is_dead else 0
        self._runs_before[partition] = run

    def observe(self, partition: TopicPartition, *, is_dead: bool, cause: str = "") -> None:
        """Count one outcome.

        Raises:
            DeadLetterGuardError: a limit is exceeded. The caller stops; what was delivered before
                may be committed.
        """
        self._count(partition, _Seen(is_dead), cause)

    def _count(self, partition: TopicPartition, seen: _Seen, cause: str) -> None:
        if len(self._window) == self._window.maxlen:
            oldest = self._window[0]
            oldest.is_in_window = False
            self._dead_in_window -= oldest.is_dead
        self._window.append(seen)
        self._dead_in_window += seen.is_dead
        if not seen.is_dead:
            self._runs.pop(partition, None)
            return
        if cause:
            self._causes.append(cause)
        self._runs[partition] = self._runs.get(partition, 0) + 1
        self._judge_run(partition, self._runs[partition])
        self._judge_ratio()

    def _judge_run(self, partition: TopicPartition, run: int) -> None:
        if self._max_consecutive and run > self._max_consecutive:
            raise DeadLetterGuardError(
                f"{run} dead letters in a row in {partition.topic}-{partition.partition} (limit"
                f" {self._max_consecutive}){self._last_causes()}: fix the cause, see"
                " `streamlabel dlq list`, or raise guard.max_consecutive"
            )

    def _judge_ratio(self) -> None:
        if self._max_ratio >= 1 or len(self._window) != self._window.maxlen:
            return
        ratio = self._dead_in_window / len(self._window)
        if ratio > self._max_ratio:
            raise DeadLetterGuardError(
                f"{ratio:.0%} of the last {len(self._window)} records became dead letters (limit"
                f" {self._max_ratio:.0%}){self._last_causes()}: fix the cause, see"
                " `streamlabel dlq list`, or raise guard.max_ratio"
            )

    def _last_causes(self) -> str:
        """Return the most frequent recent causes; messages that contain numbers differ."""
        if not self._causes:
            return ""
        most = Counter(self._causes).most_common(_NAMED)
        named = "; ".join(f"{count} x {cause}" for cause, count in most)
        return f", of the last {len(self._causes)}: {named}"
