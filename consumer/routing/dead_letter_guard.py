"""Stops the service when too many dead letters indicate a systematic fault. Pure.

A faulty release, a changed schema or the wrong topic would otherwise turn a whole topic into dead
letters. Source of the idea: getsentry/arroyo, ``dlq.py`` (DlqLimit).
"""

from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence

from streamlabel.consumer.core.records import Position, TopicPartition
from streamlabel.errors import DeadLetterGuardError

__all__ = ["DeadLetterGuard"]

# The number of latest dead letters that an error message summarizes.
_REMEMBERED = 100
_NAMED = 3


class _Judged:
    """Records of one delivery that were counted together; some may become dead letters later.

    Attributes:
        offsets: of the records, in their order.
        first: number of the first one among all records that were counted.
        dead: offsets of those that are dead letters.
    """

    __slots__ = ("dead", "first", "offsets")

    def __init__(self, offsets: Sequence[int], first: int) -> None:
        self.offsets = offsets
        self.first = first
        self.dead: set[int] = set()

    def number(self, offset: int) -> int | None:
        """Return the number of a record; None if it is not one of these."""
        index = bisect_left(self.offsets, offset)
        is_here = index < len(self.offsets) and self.offsets[index] == offset
        return self.first + index if is_here else None

    def run(self, before: int) -> int:
        """Return the dead letters in a row at the end, with those before the first record."""
        if len(self.dead) == len(self.offsets):
            return before + len(self.dead)
        run = 0
        for offset in reversed(self.offsets):
            if offset not in self.dead:
                break
            run += 1
        return run


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
        self._window_items = window_items
        self._counted = 0  # records since the start; the window is the last of them
        self._dead: list[int] = []  # numbers of the dead letters in the window, ascending
        self._runs: dict[TopicPartition, int] = {}  # up to the last record that was judged
        self._last: dict[TopicPartition, int] = {}  # offset that was judged
        # Counted and not yet delivered, in order, and the run before them.
        self._open: dict[TopicPartition, deque[_Judged]] = {}
        self._runs_before: dict[TopicPartition, int] = {}
        self._causes: deque[str] = deque(maxlen=_REMEMBERED)

    def judge(
        self, partition: TopicPartition, offsets: Sequence[int], causes: Mapping[int, str]
    ) -> None:
        """Count the outcomes of records, the first time they are about to be written.

        After a failed delivery records are read again from the committed offset: if they were
        counted again, one dead letter during an outage of the broker would look like a long run.
        Records without a dead letter among them are counted in one step.

        Args:
            partition: of the records.
            offsets: of the records, ascending.
            causes: of those that become dead letters, by offset: reason and message.

        Raises:
            DeadLetterGuardError: as ``observe``.
        """
        last = self._last.get(partition, -1)
        if offsets and offsets[0] <= last:
            offsets = offsets[bisect_left(offsets, last + 1) :]
        if not offsets:
            return
        self._last[partition] = offsets[-1]
        judged = _Judged(offsets, self._counted)
        self._open.setdefault(partition, deque()).append(judged)
        if causes.keys().isdisjoint(offsets):
            self._counted += len(offsets)
            self._runs.pop(partition, None)
            return
        for offset in offsets:
            is_dead = offset in causes
            if is_dead:
                judged.dead.add(offset)
            self.observe(partition, is_dead=is_dead, cause=causes.get(offset, ""))

    def refused(self, position: Position, *, cause: str) -> None:
        """Count a record as a dead letter that was counted as good before.

        It keeps its place among the other records: runs are counted in the order of the records.

        Raises:
            DeadLetterGuardError: as ``observe``. The record must not be written.
        """
        partition = position.topic_partition
        for judged in self._open.get(partition, ()):
            number = judged.number(position.offset)
            if number is not None and position.offset not in judged.dead:
                break
        else:
            return  # counted in an earlier delivery of the same record
        judged.dead.add(position.offset)
        self._causes.append(cause)
        insort(self._dead, number)
        run, longest = self._runs_before.get(partition, 0), 0
        for offset, is_dead in self._undelivered(partition):
            run = run + 1 if is_dead else 0
            if offset >= position.offset:
                longest = max(longest, run)
                if not is_dead:
                    break
        else:
            self._runs[partition] = run
        self._judge_run(partition, longest)
        self._judge_ratio()

    def _undelivered(self, partition: TopicPartition) -> Iterator[tuple[int, bool]]:
        for judged in self._open[partition]:
            for offset in judged.offsets:
                yield offset, offset in judged.dead

    def delivered(self, partition: TopicPartition, next_offset: int) -> None:
        """Note that the outputs of records below ``next_offset`` are written."""
        undelivered = self._open.get(partition)
        while undelivered and undelivered[0].offsets[0] < next_offset:
            judged = undelivered.popleft()
            if judged.offsets[-1] >= next_offset:  # a part of it
                written = bisect_left(judged.offsets, next_offset)
                rest = _Judged(judged.offsets[written:], judged.first + written)
                rest.dead = judged.dead.intersection(rest.offsets)
                undelivered.appendleft(rest)
                judged.offsets = judged.offsets[:written]
                judged.dead = judged.dead - rest.dead
            self._runs_before[partition] = judged.run(self._runs_before.get(partition, 0))

    def observe(self, partition: TopicPartition, *, is_dead: bool, cause: str = "") -> None:
        """Count one outcome.

        Raises:
            DeadLetterGuardError: a limit is exceeded. The caller stops; what was delivered before
                may be committed.
        """
        self._counted += 1
        if not is_dead:
            self._runs.pop(partition, None)
            return
        if cause:
            self._causes.append(cause)
        self._dead.append(self._counted - 1)
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
        del self._dead[: bisect_left(self._dead, self._counted - self._window_items)]
        if self._max_ratio >= 1 or self._counted < self._window_items:
            return
        ratio = len(self._dead) / self._window_items
        if ratio > self._max_ratio:
            raise DeadLetterGuardError(
                f"{ratio:.0%} of the last {self._window_items} records became dead letters (limit"
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
