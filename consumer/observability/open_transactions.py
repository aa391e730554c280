"""Detects transactions on the input that stay open for long and block the records behind. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from streamlabel.consumer.core.ports import HeldBack
from streamlabel.consumer.core.records import TopicPartition

__all__ = ["OpenTransactions", "Stuck"]

# Longer than a normal transaction: most take seconds, and their default timeout is 60 s.
_LONG_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Stuck:
    """A partition that is blocked by an open transaction, or no longer: then ``offsets`` is 0.

    Attributes:
        first_offset: of the open transaction.
        offsets: how many wait, including those of the transaction.
        open_s: for how long the transaction has been observed.
    """

    partition: TopicPartition
    first_offset: int
    offsets: int
    open_s: float


class OpenTransactions:
    """Reports each transaction that stays open for long, once then and once when it ends."""

    def __init__(self) -> None:
        self._since: dict[TopicPartition, tuple[int, float]] = {}
        self._told: dict[TopicPartition, int] = {}

    def saw(self, held: Mapping[TopicPartition, HeldBack], *, now_s: float) -> list[Stuck]:
        """Return transactions that have become long, or have ended, since the last call.

        Args:
            held: of the assigned partitions, as last seen.
            now_s: monotonic.
        """
        news: list[Stuck] = []
        for partition in self._since.keys() - held.keys():  # no longer ours
            del self._since[partition]
            self._told.pop(partition, None)
        for partition, each in held.items():
            first, since_s = self._since.get(partition, (each.first_offset, now_s))
            if first != each.first_offset or not each.offsets:
                if partition in self._told:
                    del self._told[partition]
                    news.append(Stuck(partition, first, 0, now_s - since_s))
                first, since_s = each.first_offset, now_s
            self._since[partition] = (first, since_s)
            if each.offsets and now_s - since_s >= _LONG_S and partition not in self._told:
                self._told[partition] = first
                news.append(Stuck(partition, first, each.offsets, now_s - since_s))
        return news

    def open_s(self, partition: TopicPartition, *, now_s: float) -> float:
        """Return for how long the present transaction has been seen open, in s; 0 without one."""
        _, since_s = self._since.get(partition, (0, now_s))
        return now_s - since_s
