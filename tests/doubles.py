"""Test doubles of the small ports: time, metrics and the assignment listener."""

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import count

from streamlabel.consumer.core.metric_names import CounterName, GaugeName, HistogramName
from streamlabel.consumer.core.records import TopicPartition

__all__ = ["ManualClock", "RecordingListener", "RecordingMetrics", "settle"]

# Iterations of the event loop after a wake-up until all resulting tasks have run. Every await that
# does not wait takes one iteration; chains in the pipeline are shorter.
_ROUNDS = 50


class ManualClock:
    """Time that only the test advances; implements ``Clock``."""

    def __init__(self, *, now_s: float = 1000.0, epoch_ms: int = 1_700_000_000_000) -> None:
        self._now_s = now_s
        self._epoch_offset_ms = epoch_ms - now_s * 1000
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()

    def now_s(self) -> float:
        """The current time of the test."""
        return self._now_s

    def epoch_ms(self) -> int:
        """The same instant as epoch milliseconds."""
        return int(self._epoch_offset_ms + self._now_s * 1000)

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has advanced time this far; 0 only lets other tasks run."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_s + seconds, next(self._order), woken))
        await woken

    @property
    def sleeping(self) -> int:
        """Number of sleeping tasks."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    @property
    def next_wake_s(self) -> float | None:
        """Time at which the next sleeping task wakes up."""
        self._forget_cancelled()
        return self._sleepers[0][0] if self._sleepers else None

    async def advance(self, seconds: float) -> None:
        """Advance time, and stop at each sleeping task so that it runs at its own time."""
        end_s = self._now_s + seconds
        await settle()
        while (wake_s := self.next_wake_s) is not None and wake_s <= end_s:
            self._now_s = max(self._now_s, wake_s)
            while self._sleepers and self._sleepers[0][0] <= self._now_s:
                _, _, woken = heapq.heappop(self._sleepers)
                if not woken.done():
                    woken.set_result(None)
            await settle()
        self._now_s = end_s
        await settle()

    def _forget_cancelled(self) -> None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)


async def settle() -> None:
    """Let all tasks run that can run without advancing time."""
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)


class RecordingMetrics:
    """Stores all metrics; implements ``Metrics``.

    Attributes:
        counters: (name, sorted labels) -> sum.
        observations: name -> values in order.
        gauges: (name, sorted labels) -> last value.
    """

    def __init__(self) -> None:
        self.counters: dict[tuple[CounterName, tuple[tuple[str, str], ...]], float] = defaultdict(
            float
        )
        self.observations: dict[HistogramName, list[float]] = defaultdict(list)
        self.gauges: dict[tuple[GaugeName, tuple[tuple[str, str], ...]], float] = {}

    def increment(self, name: CounterName, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self.counters[name, _given(labels)] += amount

    def observe(self, name: HistogramName, value: float, **labels: str) -> None:
        """Keep the value."""
        del labels
        self.observations[name].append(value)

    def observe_all(self, name: HistogramName, values: Sequence[float], **labels: str) -> None:
        """Keep the values."""
        del labels
        self.observations[name].extend(values)

    def set(self, name: GaugeName, value: float, **labels: str) -> None:
        """Keep the last value."""
        self.gauges[name, _given(labels)] = value

    def total(self, name: CounterName, **labels: str) -> float:
        """Sum over all counters of this name that carry (at least) these labels."""
        wanted = set(labels.items())
        return sum(
            amount
            for (counter, carried), amount in self.counters.items()
            if counter == name and wanted <= set(carried)
        )


def _given(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """An empty label is none, as for Prometheus."""
    return tuple(sorted((name, value) for name, value in labels.items() if value))


class RecordingListener:
    """Stores its calls; implements ``AssignmentListener``."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, list[TopicPartition]]] = []

    async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Note it."""
        self.seen.append(("assigned", sorted(partitions)))

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Note it."""
        self.seen.append(("revoked", sorted(partitions)))
