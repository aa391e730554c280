"""Divides what is read among input topics in proportion to their weights. Pure.

Weighted fair queueing: each topic has a clock that advances by the records read from it divided by
its weight, and the topics that are furthest behind are read first. While several topics have a
backlog their clocks advance together, so records are read in proportion to the weights. A topic
without a backlog leaves its share to the others, and cannot save it up: its clock is never more
than ``_CREDIT_ITEMS`` records behind.

Source: start-time fair queueing, Goyal et al. 1996, with items instead of bytes.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Final

__all__ = ["FairShares"]

# A topic whose next fetch is still under way has nothing to read for some milliseconds, although it
# has a backlog: the credit, one large poll, lets it catch up. It is also the longest burst of a
# topic that was idle.
_CREDIT_ITEMS: Final = 500


class FairShares:
    """Says how many records to read from each topic, again and again.

    Args:
        weights: topic -> weight, > 0, no unit: only their ratios matter.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights: dict[str, float] = {}
        # Records / weight, relative to the topic that is furthest behind of those being read.
        self._clocks: dict[str, float] = {}
        self._taken = 0
        self._heaviest = max(weights.values(), default=1.0)
        self.add(weights)

    def add(self, weights: Mapping[str, float]) -> None:
        """Add topics; a new one has no credit. Those that are there keep their weights."""
        for topic, weight in weights.items():
            self._weights.setdefault(topic, weight / self._heaviest)
            self._clocks.setdefault(topic, 0.0)

    @property
    def is_single(self) -> bool:
        """Whether there is only one topic, which gets everything."""
        return len(self._weights) == 1

    def turns(self, room_items: int, topics: Collection[str]) -> Iterator[tuple[str, int]]:
        """Yield topics and how many records may be read from each, until the room is used up.

        A topic from which fewer are read has no more now, and what is left goes to the others. The
        caller calls ``took`` after each turn, unless nothing was read.

        Args:
            room_items: how many records may be read in total.
            topics: those that may have records; each is one of the weights.
        """
        left, waiting, read = room_items, set(topics), set[str]()
        while left > 0 and waiting:
            for topic, quota in self._quotas(left, waiting):
                self._taken = 0
                yield topic, quota
                left -= self._taken
                self._clocks[topic] += self._taken / self._weights[topic]
                if self._taken > 0:
                    read.add(topic)
                if self._taken < quota:
                    waiting.discard(topic)
        self._limit_credit(waiting or read, waiting)

    def took(self, items: int) -> None:
        """Note how many records were read in the present turn."""
        self._taken = items

    def charge(self, topic: str, items: int) -> None:
        """Note records that were read without a turn."""
        self._clocks[topic] += items / self._weights[topic]

    def _quotas(self, room_items: int, topics: Collection[str]) -> list[tuple[str, int]]:
        """Return the records for each topic, ``room_items`` in total, those behind first.

        As if each record was given to the topic whose clock is behind: all clocks that advance
        reach the same time.
        """
        behind = sorted(topics, key=lambda topic: (self._clocks[topic], topic))
        until = self._common_time(room_items, behind)
        exact = {
            topic: max(0.0, self._weights[topic] * (until - self._clocks[topic]))
            for topic in behind
        }
        quotas = {topic: math.floor(share) for topic, share in exact.items()}
        rest = room_items - sum(quotas.values())
        by_fraction = sorted(behind, key=lambda topic: quotas[topic] - exact[topic])
        for topic in by_fraction[: max(0, rest)]:
            quotas[topic] += 1
        return [(topic, quotas[topic]) for topic in behind if quotas[topic] > 0]

    def _common_time(self, room_items: int, behind: list[str]) -> float:
        weight = weighted = until = 0.0
        for topic in behind:
            if weight > 0 and until <= self._clocks[topic]:
                break  # this topic and those after it are ahead even then
            weight += self._weights[topic]
            weighted += self._weights[topic] * self._clocks[topic]
            until = (room_items + weighted) / weight
        return until

    def _limit_credit(self, active: Collection[str], waiting: Collection[str]) -> None:
        """Begin the clocks at the last one of ``active``, and limit the credit of idle topics.

        A topic with a backlog is never cut: one record of a light topic may put its clock far
        ahead, and the others have to catch up in full.
        """
        if not active:
            return
        now = min(self._clocks[topic] for topic in active)
        for topic, weight in self._weights.items():
            clock = self._clocks[topic] - now
            self._clocks[topic] = clock if topic in waiting else max(clock, -_CREDIT_ITEMS / weight)
