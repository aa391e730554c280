"""The rows of a training, in batches of similar lengths, and in parts that fit into memory."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["TrainingRows", "batches", "passes"]

# Number of shuffled batches that are sorted by length together: this reduces padding and keeps the
# order random enough.
_POOL_BATCHES = 8


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Inputs of a model with their targets.

    Attributes:
        inputs: token ids (T,) or hidden states (T, hidden), one tensor per row.
        targets: shape (N, K), 1.0 for a correct label.
        weights: shape (N,), of the rows in the loss, 1 in the mean; None: all alike.
        draw: returns inputs and targets of some rows for one step, in other words than the ones
            above; None: the ones above.
        order: what ``draw`` draws from; its state belongs to that of a training.
        shared_tokens: with which the rows of a pass begin, and which are computed once for all of
            them, without padding; 0: rows are padded.
    """

    inputs: Sequence[Any]
    targets: Any
    weights: Any = None
    draw: Callable[[Sequence[int]], tuple[Sequence[Any], Any]] | None = None
    order: random.Random | None = None
    shared_tokens: int = 0

    def of(self, batch: Sequence[int]) -> tuple[Sequence[Any], Any]:
        """Return inputs and targets of some rows, for one step."""
        if self.draw is not None:
            return self.draw(batch)
        return [self.inputs[i] for i in batch], self.targets[list(batch)]


def batches(lengths: Sequence[int], items: int, order: random.Random) -> list[list[int]]:
    """Return indexes of inputs: random batches of inputs with similar lengths."""
    shuffled = list(range(len(lengths)))
    order.shuffle(shuffled)
    found = []
    for start in range(0, len(shuffled), items * _POOL_BATCHES):
        pool = sorted(shuffled[start : start + items * _POOL_BATCHES], key=lengths.__getitem__)
        found += [pool[i : i + items] for i in range(0, len(pool), items)]
    order.shuffle(found)
    return found


def passes(lengths: Sequence[int], tokens: int | None, shared: int = 0) -> Iterator[list[int]]:
    """Yield the parts of a batch that are computed at once: at most ``tokens``, padding included.

    A row that is longer than that is a part of its own.

    Args:
        lengths: of the rows.
        tokens: None: no limit.
        shared: see ``TrainingRows.shared_tokens``.
    """
    part: list[int] = []
    packed = shared
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        own = lengths[i] - shared
        wide = packed + own if shared else (len(part) + 1) * lengths[i]
        if tokens is not None and part and wide > tokens:
            yield part
            part, packed = [], shared
        part.append(i)
        packed += own
    yield part
