"""Stops the service when dead letters say that something is systematically wrong. Pure.

A bad deploy, a changed schema or the wrong topic would otherwise drain a whole topic into the
dead-letter queue. Source of the idea: getsentry/arroyo, ``dlq.py`` (DlqLimit).
"""

from collections import deque

from streamlabel.consumer.records import Position, TopicPartition
from streamlabel.errors import DeadLetterGuardError

__all__ = ["DeadLetterGuard"]


class DeadLetterGuard:
    """Watches the share of dead letters in a window, and their run length per partition.

    Args:
        max_consecutive: dead letters in a row in one partition that are still tolerated; 0: any.
        max_ratio: share in the window that is still tolerated; 1: any.
        window_items: outcomes the ratio looks at; it is not judged before the window is full.
    """

    def __init__(self, *, max_consecutive: int, max_ratio: float, window_items: int) -> None:
        self._max_consecutive = max_consecutive
        self._max_ratio = max_ratio
        self._window: deque[bool] = deque(maxlen=window_items)
        self._dead_in_window = 0
        self._runs: dict[TopicPartition, int] = {}
        self._judged: dict[TopicPartition, int] = {}

    def judge(self, position: Position, *, is_dead: bool) -> None:
        """Count the outcome of a record, the first time it is about to be written.

        Deliveries that fail are begun again from the committed offset: without this, one dead
        letter in an outage of the broker would soon look like a long run of them.

        Raises:
            DeadLetterGuardError: as ``observe``.
        """
        partition = position.topic_partition
        if position.offset > self._judged.get(partition, -1):
            self._judged[partition] = position.offset
            self.observe(partition, is_dead=is_dead)

    def observe(self, partition: TopicPartition, *, is_dead: bool) -> None:
        """Count one outcome.

        Raises:
            DeadLetterGuardError: the limit is passed. The caller stops; what was delivered before
                may be committed.
        """
        self._observe_run(partition, is_dead=is_dead)
        if self._max_ratio >= 1:
            return
        if len(self._window) == self._window.maxlen and self._window[0]:
            self._dead_in_window -= 1
        self._window.append(is_dead)
        self._dead_in_window += is_dead
        ratio = self._dead_in_window / len(self._window)
        if is_dead and len(self._window) == self._window.maxlen and ratio > self._max_ratio:
            raise DeadLetterGuardError(
                f"{ratio:.0%} of the last {len(self._window)} records became dead letters (limit"
                f" {self._max_ratio:.0%}): check that input.format and input.text_path fit the"
                " topic, see the reasons in the dead-letter topic, or raise guard.max_ratio"
            )

    def _observe_run(self, partition: TopicPartition, *, is_dead: bool) -> None:
        if not is_dead:
            self._runs.pop(partition, None)
            return
        run = self._runs.get(partition, 0) + 1
        self._runs[partition] = run
        if self._max_consecutive and run > self._max_consecutive:
            raise DeadLetterGuardError(
                f"{run} dead letters in a row in {partition.topic}-{partition.partition} (limit"
                f" {self._max_consecutive}): see their reasons in the dead-letter topic, or raise"
                " guard.max_consecutive"
            )
