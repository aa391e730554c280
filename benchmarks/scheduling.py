"""Simulates schedulers of batches on a virtual clock: the service's own, and an ideal one.

    python -m benchmarks.scheduling compares them on random arrivals

The model computes ``streams`` batches at a time, and one more waits in its queue. A text has its
result when its batch has, and is delivered when all earlier texts of its partition are. Nothing
else takes time, so what differs is only which texts go into which batch, and the result is the same
on every machine.

The ideal scheduler knows all costs exactly and chooses in hindsight: it is the best of a set of
schedulers for the very arrivals that are compared, in their 99th percentile. They differ in the
size of batches, in whether full ones are taken in a backlog, and in how far a long text lets
shorter ones of other partitions pass: a text is due at its arrival plus a multiple of its own cost,
and not before an earlier text of its partition.
"""

import argparse
import heapq
import itertools
import random
import sys
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from benchmarks.open_loop import PARTITIONS, quantile
from streamlabel.consumer.batching.micro_batcher import MicroBatcher

__all__ = ["Costs", "Scheduler", "Service", "Text", "arrivals", "ideal_p99_s", "simulate"]

_SIZES: Final = (64, 128, 192, 256, 384, 512, 768, 1024)  # tokens of a batch
_FULL_FROM: Final = (2, 4, 1000)  # waiting full batches from which full ones are taken
_PASSING: Final = (0.0, 1.0, 4.0)  # multiples of a text's own cost


@dataclass(frozen=True, slots=True)
class Costs:
    """What a batch costs: seconds of a call, of a row and of a token, on one busy stream."""

    call_s: float
    token_s: float
    row_s: float = 0.0

    def of(self, batch: Sequence["Text"]) -> float:
        """Return the seconds of a batch that is not padded."""
        tokens = sum(text.tokens for text in batch)
        return self.call_s + self.row_s * len(batch) + self.token_s * tokens


@dataclass(frozen=True, slots=True, order=True)
class Text:
    """A text that arrives; ordered by arrival."""

    at_s: float
    partition: int
    tokens: int


class Scheduler(Protocol):
    """Chooses batches."""

    def add(self, number: int, text: Text) -> None:
        """Take a text that has arrived."""
        ...

    def take(self, now_s: float, *, is_busy: bool) -> list[int]:
        """Return the numbers of the next batch; nothing: wait for more texts or a free stream."""
        ...

    def ended(self, batch: Sequence[Text], seconds: float) -> None:
        """Note what a batch took."""
        ...


class Service:
    """The service's own: its micro-batcher, as its model runner uses it.

    Args:
        max_tokens: token budget.
        learns: from what batches took; False: batches are as full as possible, as before.
    """

    def __init__(self, *, max_tokens: int, learns: bool = True) -> None:
        self._batcher: MicroBatcher[int] = MicroBatcher(
            max_tokens=max_tokens, max_items=512, pads=False
        )
        self._learns = learns

    def add(self, number: int, text: Text) -> None:
        """Take a text; see ``Scheduler``."""
        self._batcher.add(number, tokens=text.tokens, now_s=text.at_s)

    def take(self, now_s: float, *, is_busy: bool) -> list[int]:
        """Return a batch; see ``Scheduler``."""
        if is_busy and not self._batcher.is_full:
            return []
        batch = self._batcher.take(now_s)
        return [] if batch is None else list(batch.items)

    def ended(self, batch: Sequence[Text], seconds: float) -> None:
        """Learn; see ``Scheduler``."""
        if self._learns:
            self._batcher.cost.learn(tokens=sum(text.tokens for text in batch), seconds=seconds)


@dataclass(slots=True)
class Candidate:
    """One of the schedulers from which the ideal one is chosen.

    Attributes:
        costs: exact.
        size: tokens of a batch.
        max_tokens: of a full one.
        full_from: waiting full batches from which full ones are taken.
        passing: multiple of its own cost by which a text is due after its arrival.
    """

    costs: Costs
    size: int
    max_tokens: int
    full_from: float
    passing: float
    _waiting: list[tuple[float, int, int]] = field(default_factory=list)  # due, number, tokens
    _due_s: dict[int, float] = field(default_factory=dict)  # of each partition, the latest
    _tokens: int = 0

    def add(self, number: int, text: Text) -> None:
        """Take a text; see ``Scheduler``."""
        due_s = text.at_s + self.passing * self.costs.of([text])
        due_s = self._due_s[text.partition] = max(due_s, self._due_s.get(text.partition, 0.0))
        insort(self._waiting, (due_s, number, text.tokens))
        self._tokens += text.tokens

    def take(self, now_s: float, *, is_busy: bool) -> list[int]:
        """Return a batch; see ``Scheduler``. No queue: it loses no time between two batches."""
        if is_busy:
            return []
        is_backlog = self._tokens >= self.full_from * self.max_tokens
        limit_tokens = self.max_tokens if is_backlog else self.size
        count = tokens = 0
        for _, _, more in self._waiting:
            if count and tokens + more > limit_tokens:
                break
            count, tokens = count + 1, tokens + more
        self._tokens -= tokens
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return [number for _, number, _ in taken]

    def ended(self, batch: Sequence[Text], seconds: float) -> None:
        """Learn nothing: it knows."""


def simulate(
    texts: Sequence[Text],
    scheduler: Scheduler,
    cost: Callable[[Sequence[Text]], float],
    *,
    streams: int,
    queued: int = 1,
) -> list[float]:
    """Return the seconds from the arrival of each text to its delivery.

    Args:
        texts: by arrival.
        scheduler: chooses batches.
        cost: seconds of a batch on its stream.
        streams: batches computed at the same time.
        queued: batches that wait for a stream, besides.
    """
    model = _Model(cost, streams, queued)
    done_s = [0.0] * len(texts)
    arrived = 0
    while times := [*model.next_end(), *(text.at_s for text in texts[arrived : arrived + 1])]:
        model.now_s = max(model.now_s, min(times))
        while arrived < len(texts) and texts[arrived].at_s <= model.now_s:
            scheduler.add(arrived, texts[arrived])
            arrived += 1
        for call in model.ended():
            for number in call.numbers:
                done_s[number] = model.now_s
            if call.is_measured:
                scheduler.ended([texts[number] for number in call.numbers], call.seconds)
        _fill(model, scheduler, texts)
    return _delivered(texts, done_s)


def _fill(model: "_Model", scheduler: Scheduler, texts: Sequence[Text]) -> None:
    """Submit batches until the scheduler waits or the model has no room."""
    while model.has_room:
        numbers = scheduler.take(model.now_s, is_busy=model.is_busy)
        if not numbers:
            return
        model.submit(numbers, [texts[number] for number in numbers])


@dataclass(slots=True)
class _Call:
    """A batch in the model; ``is_measured``: it began at once, so its time is its cost."""

    numbers: Sequence[int]
    seconds: float
    is_measured: bool


class _Model:
    """Computes several batches at a time; others wait in its queue."""

    def __init__(self, cost: Callable[[Sequence[Text]], float], streams: int, queued: int) -> None:
        self.now_s = 0.0
        self._cost = cost
        self._streams = streams
        self._queued = queued
        self._running: list[tuple[float, int, _Call]] = []  # when it ends, its number
        self._queue: deque[_Call] = deque()
        self._order = itertools.count()

    @property
    def is_busy(self) -> bool:
        return len(self._running) >= self._streams

    @property
    def has_room(self) -> bool:
        return len(self._running) + len(self._queue) < self._streams + self._queued

    def submit(self, numbers: Sequence[int], batch: Sequence[Text]) -> None:
        call = _Call(numbers, self._cost(batch), is_measured=not self.is_busy)
        if self.is_busy:
            self._queue.append(call)
        else:
            self._start(call)

    def _start(self, call: _Call) -> None:
        heapq.heappush(self._running, (self.now_s + call.seconds, next(self._order), call))

    def next_end(self) -> list[float]:
        """Return when the next batch ends; nothing if none runs."""
        return [self._running[0][0]] if self._running else []

    def ended(self) -> Iterator[_Call]:
        """Yield the batches that have ended by now, and start queued ones."""
        while self._running and self._running[0][0] <= self.now_s:
            yield heapq.heappop(self._running)[2]
            if self._queue:
                self._start(self._queue.popleft())


def _delivered(texts: Sequence[Text], done_s: Sequence[float]) -> list[float]:
    latest_s: dict[int, float] = {}
    waits_s = []
    for text, at_s in zip(texts, done_s, strict=True):
        latest_s[text.partition] = max(at_s, latest_s.get(text.partition, 0.0))
        waits_s.append(latest_s[text.partition] - text.at_s)
    return waits_s


def ideal_p99_s(
    texts: Sequence[Text], costs: Costs, *, max_tokens: int, streams: int
) -> tuple[float, str]:
    """Return the p99 of the ideal scheduler on these arrivals, in seconds, and what it is."""
    best, name = float("inf"), ""
    for size, full_from, passing in itertools.product(_SIZES, _FULL_FROM, _PASSING):
        if size > max_tokens:
            continue
        scheduler = Candidate(costs, size, max_tokens, full_from, passing)
        p99_s = quantile(simulate(texts, scheduler, costs.of, streams=streams, queued=0), 0.99)
        if p99_s < best:
            best = p99_s
            name = f"batches of {size} tokens, full ones from {full_from} on, passing {passing:g}"
    return best, name


def arrivals(tokens: Iterable[int], *, per_s: float, rng: random.Random) -> list[Text]:
    """Return Poisson arrivals of texts of these lengths, on random partitions."""
    at_s, found = 0.0, []
    for each in tokens:
        at_s += rng.expovariate(per_s)
        found.append(Text(at_s, rng.randrange(PARTITIONS), each))
    return found


def heavy_tailed(count: int, rng: random.Random) -> list[int]:
    """Return lengths like those of the mix: a median of 30 tokens, one in fifty of hundreds."""
    usual = (round(rng.lognormvariate(3.4, 0.75)) for _ in range(count))
    return [
        rng.randint(250, 512) if rng.random() < 0.02 else min(512, max(4, tokens))
        for tokens in usual
    ]


def main() -> None:
    """Compare the service's scheduler with the one before and the ideal one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--texts", type=int, default=12_000)
    parser.add_argument("--streams", type=int, default=2)
    options = parser.parse_args()
    # of MiniLM in fp32 on a core of an AMD EPYC
    costs, max_tokens = Costs(call_s=0.002, row_s=0.0003, token_s=0.00022), 1024
    rng = random.Random(7)
    lengths = heavy_tailed(options.texts, rng)
    full = [Text(0.0, 0, length) for length in lengths]
    whole_s = costs.of(full) - costs.call_s + costs.call_s * sum(lengths) / max_tokens
    capacity = options.streams * len(full) / whole_s
    print_row = "{:>5} {:>12} {:>12} {:>12} {:>8}\n".format
    sys.stdout.write(print_row("load", "before, ms", "service, ms", "ideal, ms", "ratio"))
    for load in (0.1, 0.5, 0.8, 0.95):
        texts = arrivals(lengths, per_s=load * capacity, rng=rng)
        p99 = {}
        for learns in (False, True):
            scheduler = Service(max_tokens=max_tokens, learns=learns)
            waits_s = simulate(texts, scheduler, costs.of, streams=options.streams)
            p99[learns] = 1000 * quantile(waits_s, 0.99)
        best_s, name = ideal_p99_s(texts, costs, max_tokens=max_tokens, streams=options.streams)
        ratio = p99[True] / (1000 * best_s)
        cells = (f"{p99[False]:.0f}", f"{p99[True]:.0f}", f"{1000 * best_s:.0f}", f"{ratio:.2f}")
        sys.stdout.write(print_row(f"{load:.0%}", *cells) + f"      {name}\n")


if __name__ == "__main__":
    main()
