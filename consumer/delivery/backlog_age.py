"""How long the oldest record of a partition that was not delivered has waited. Pure.

One entry for all records of a poll, so that a record costs nothing: the answer is too large by at
most the span of time of one poll's records.
"""

from collections import deque

__all__ = ["BacklogAge"]


class BacklogAge:
    """Remembers the timestamps of what is in flight, or was delivered last."""

    def __init__(self) -> None:
        self._polls: deque[tuple[int, int]] = deque()  # last offset, timestamp of the first

    def started(self, last_offset: int, timestamp_ms: int) -> None:
        """Note the records that a poll has returned.

        Args:
            last_offset: of them.
            timestamp_ms: of the first, epoch milliseconds; 0 or less: it has none.
        """
        if timestamp_ms > 0:
            self._polls.append((last_offset, timestamp_ms))

    def delivered(self, next_offset: int) -> None:
        """Note that all records below ``next_offset`` are delivered."""
        while len(self._polls) > 1 and self._polls[0][0] < next_offset:
            self._polls.popleft()

    def age_ms(self, now_ms: int, *, lag: int, in_flight: int) -> int | None:
        """Return the age of the oldest record that was not delivered, >= 0.

        Args:
            now_ms: epoch milliseconds.
            lag: records that can be read and were not.
            in_flight: records that were read and not delivered.

        Returns:
            0 if nothing waits; None if something does, and no timestamp is known. If nothing is in
            flight the next record is unknown, and is taken to be as old as those of the last poll.
        """
        if lag == 0 and in_flight == 0:
            return 0
        if not self._polls:
            return None
        return max(0, now_ms - self._polls[0][1])
