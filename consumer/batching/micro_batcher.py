"""Micro-batches: which texts go to the device together. Pure: time is an argument.

Policy. A batch always holds the oldest text, so nothing starves. For a model that pads, the texts
of the most similar length come with it, whatever their age, while the padded tokens (rows x
longest row: what a padding device pays) fit the budget and the share of padding stays small. For a
model that does not pad, texts are taken in arrival order: another order gains nothing, and would
delay results, which are delivered in input order. Work-conserving: with ``linger_s`` 0 a free
worker never waits while a text is there; while it is busy, the next batch grows.

Size. A text has its result when its whole batch has, so batches are not larger than pays: once it
is known what a call costs, a batch is the smallest one whose tokens cost nearly as little as in a
full one. While several full batches wait, texts queue anyway, and full ones are taken.

Sources: token budget as in huggingface/text-embeddings-inference (core/src/queue.rs); picking by
length across the window, and anchoring it at the oldest text, is ours.
"""

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter, mul
from typing import Generic, TypeVar

from streamlabel.models.core.call_cost import CallCost
from streamlabel.models.core.classifier import PreparedText
from streamlabel.models.core.values import value

__all__ = ["Batch", "MicroBatcher"]

# Reading slows down while so many full batches wait. For a model that pads more are useful: the
# more texts there are to choose from, the more similar are the lengths within a batch.
_AHEAD_BATCHES = 2
_AHEAD_PADDED_BATCHES = 16

# From so many waiting full batches on, texts queue longer than a batch takes, and full ones are
# taken, which get through sooner.
_BACKLOG_BATCHES = 3
# How much more a token may cost in a batch that is not full. In a simulation at 80 % of capacity
# (benchmarks.scheduling), 0.02 to 0.06 differ by less than the arrivals of one run and the next.
_LOSS = 0.03
# Part of a full batch that every batch may have, if so much waits: what was learned is not exact.
_SMALLEST = 16

_TOKENS = attrgetter("tokens")
_ROWS = attrgetter("rows")

T = TypeVar("T")


@value
class Batch(Generic[T]):
    """Texts to classify together, in arrival order.

    Attributes:
        rows: rows on the device; more than ``len(items)`` if long texts take several windows.
        tokens: tokens that are not padding.
        padded_tokens: what the device pays: rows x longest row, or ``tokens`` without padding.
        oldest_since_s: when its oldest item was added, monotonic seconds.
    """

    items: tuple[T, ...]
    rows: int
    tokens: int
    padded_tokens: int
    oldest_since_s: float


# item, tokens, rows, since_s: a tuple, because one is made for every text
_Entry = tuple[T, int, int, float]


class MicroBatcher(Generic[T]):
    """Holds prepared texts and chooses the next batch.

    Args:
        max_tokens: padded tokens a batch may have; a single larger text goes alone.
        max_items: items a batch may have.
        linger_s: wait this long, from the oldest item on, for a batch to fill.
        pads: the model pads the rows of a batch to the longest.
        max_padding: share of a batch that may be padding, in [0, 1). Texts that would exceed
            it wait for the next batch, which is cheaper than padding them to this one's length.

    Attributes:
        max_tokens: the present limit; it falls when a batch does not fit into memory.
        cost: what calls of the model cost, as far as it is known; the batcher only reads it.
    """

    def __init__(
        self,
        *,
        max_tokens: int,
        max_items: int,
        linger_s: float = 0.0,
        pads: bool = True,
        max_padding: float = 0.25,
    ) -> None:
        self._pads = pads
        self.max_tokens = max_tokens
        self.cost = CallCost()
        self._max_items = max_items
        self._linger_s = linger_s
        self._max_padding = max_padding
        self._entries: OrderedDict[int, _Entry[T]] = OrderedDict()  # by arrival
        self._by_length: list[tuple[int, int]] = []  # (tokens, arrival number), sorted
        self._next_number = 0
        self._waiting_tokens = self._waiting_rows = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, item: T, *, tokens: int, now_s: float, rows: int = 1) -> None:
        """Take one item that costs ``rows`` rows of up to ``tokens`` tokens."""
        number = self._next_number
        self._next_number += 1
        self._entries[number] = item, tokens, rows, now_s
        self._waiting_tokens += tokens * rows
        self._waiting_rows += rows
        if self._pads:
            insort(self._by_length, (tokens, number))

    def size(self, prepared: Sequence[PreparedText]) -> int:
        """Return how many of ``max_tokens`` these texts take in one batch."""
        rows, tokens = list(map(_ROWS, prepared)), list(map(_TOKENS, prepared))
        return sum(rows) * max(tokens, default=0) if self._pads else sum(map(mul, tokens, rows))

    @property
    def is_full(self) -> bool:
        """Whether a batch waits that would not gain from further texts."""
        waits_for = min(self.max_tokens, self._enough_tokens())
        return len(self._entries) >= self._max_items or self._waiting_tokens >= waits_for

    @property
    def is_ahead(self) -> bool:
        """Whether so many texts wait that more would not improve the next batches."""
        batches = _AHEAD_PADDED_BATCHES if self._pads else _AHEAD_BATCHES
        return self._waiting_tokens >= batches * self.max_tokens

    @property
    def deadline_s(self) -> float | None:
        """When ``take`` will have a batch at the latest; None if nothing waits."""
        if not self._entries:
            return None
        return next(iter(self._entries.values()))[3] + self._linger_s

    def take(self, now_s: float) -> Batch[T] | None:
        """Return the next batch for a free worker, or None to wait until ``deadline_s``."""
        deadline_s = self.deadline_s
        if deadline_s is None or (now_s < deadline_s and not self.is_full):
            return None
        numbers, longest_tokens = self._similar() if self._pads else self._oldest()
        items, lengths, all_rows, since_s = zip(*map(self._entries.pop, numbers), strict=True)
        rows, tokens = sum(all_rows), sum(map(mul, lengths, all_rows))
        self._waiting_tokens -= tokens
        self._waiting_rows -= rows
        return Batch(
            items=items,
            rows=rows,
            tokens=tokens,
            padded_tokens=rows * longest_tokens if self._pads else tokens,
            oldest_since_s=since_s[0],
        )

    def discard(self, unwanted: Callable[[T], bool]) -> int:
        """Drop the items for which ``unwanted`` holds; return how many that were."""
        kept = OrderedDict((n, e) for n, e in self._entries.items() if not unwanted(e[0]))
        dropped = len(self._entries) - len(kept)
        if dropped:
            self._entries = kept
            if self._pads:
                self._by_length = sorted((tokens, n) for n, (_, tokens, _, _) in kept.items())
            self._waiting_tokens = sum(tokens * rows for _, tokens, rows, _ in kept.values())
            self._waiting_rows = sum(rows for _, _, rows, _ in kept.values())
        return dropped

    def _limit_tokens(self) -> int:
        """Return how many padded tokens the next batch may have."""
        if self._waiting_tokens >= _BACKLOG_BATCHES * self.max_tokens:
            return self.max_tokens
        return min(self.max_tokens, self._enough_tokens())

    def _enough_tokens(self) -> int:
        """Return the tokens with which a batch computes nearly as fast as a full one."""
        least = self.cost.least_batch(self.max_tokens, loss=_LOSS)
        return self.max_tokens if least is None else max(least, self.max_tokens // _SMALLEST)

    def _oldest(self) -> tuple[list[int], int]:
        """Return the next texts in arrival order, and the length of the longest row."""
        limit_tokens = self._limit_tokens()
        numbers: list[int] = []
        tokens = longest = 0
        for number, (_, length, rows, _) in self._entries.items():
            tokens += length * rows
            if numbers and (tokens > limit_tokens or len(numbers) == self._max_items):
                break
            numbers.append(number)
            longest = max(longest, length)
        return numbers, longest

    def _similar(self) -> tuple[list[int], int]:
        """Return the oldest and its neighbours in length, and the length of the longest row."""
        first, last = self._around_oldest()
        numbers = sorted(map(itemgetter(1), self._by_length[first:last]))
        longest = self._by_length[last - 1][0]
        del self._by_length[first:last]
        return numbers, longest

    def _around_oldest(self) -> tuple[int, int]:
        """Return the slice of ``_by_length`` to take, grown from the oldest item."""
        limit_tokens = self._limit_tokens()
        number, (_, longest, rows, _) = next(iter(self._entries.items()))
        first = bisect_left(self._by_length, (longest, number))
        last = first + 1
        if self._waiting_rows == len(self._entries):  # texts of one row each
            last = self._end_of_equal(first, longest, limit_tokens)
            rows = last - first
        real = longest * rows
        while last - first < self._max_items:
            side = self._cheaper_side(first, last, rows, longest)
            if side is None:
                break
            tokens, neighbour = self._by_length[side]
            extra = self._entries[neighbour][2]
            longest = max(longest, tokens)
            rows += extra
            real += tokens * extra
            padded = rows * longest
            if padded > limit_tokens or padded - real > self._max_padding * padded:
                break
            first, last = min(first, side), max(last, side + 1)
        return first, last

    def _end_of_equal(self, first: int, tokens: int, limit_tokens: int) -> int:
        """Return the end of the slice from ``first`` with texts of this length that fit.

        They add no padding, so there is nothing to compare: they follow the oldest one, because
        those of one length are in arrival order.
        """
        most = max(1, min(self._max_items, limit_tokens // tokens))
        end = bisect_right(self._by_length, (tokens, self._next_number), first)
        return min(end, first + most)

    def _cheaper_side(self, first: int, last: int, rows: int, longest: int) -> int | None:
        """Return the neighbour of the slice that adds the least padding, or None at both ends."""
        shorter = first - 1 if first > 0 else None
        longer = last if last < len(self._by_length) else None
        if shorter is None or longer is None:
            return longer if shorter is None else shorter
        padding_below = longest - self._by_length[shorter][0]
        padding_above = (self._by_length[longer][0] - longest) * rows
        return shorter if padding_below < padding_above else longer
