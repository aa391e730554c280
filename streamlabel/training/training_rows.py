"""The rows of a training, in batches of similar lengths, and in parts that fit into memory."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["LENGTH_STEP", "Drawn", "TrainingRows", "batches", "passes"]

# Rows that are computed as one have a length of a multiple: kernels of a processor are generated
# for each length that they meet.
LENGTH_STEP: Final = 32

# Number of shuffled batches that are sorted by length together: this reduces padding and keeps the
# order random enough.
_POOL_BATCHES = 8


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is trained in one step.

    Attributes:
        inputs: token ids (T,) or hidden states (T, hidden), one tensor per row.
        targets: shape (B, K), 1.0 for a correct label.
        groups: indexes of rows that may be computed together; each row is in one. None: all rows.
    """

    inputs: Sequence[Any]
    targets: Any
    groups: Sequence[Sequence[int]] | None = None

    def parts(self, tokens: int | None, shared: int) -> Iterator[list[int]]:
        """Yield the rows that are computed at once, see ``passes``."""
        for group in [range(len(self.inputs))] if self.groups is None else self.groups:
            for part in passes([len(self.inputs[i]) for i in group], tokens, shared):
                yield [group[i] for i in part]


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Inputs of a model with their targets.

    Attributes:
        inputs: token ids (T,) or hidden states (T, hidden), one tensor per row.
        targets: shape (N, K), 1.0 for a correct label.
        weights: shape (N,), of the rows in the loss, 1 in the mean; None: all alike.
        draw: returns some rows for one step, in other words than those above; None: those above.
        order: what ``draw`` draws from; its state belongs to that of a training.
        shared_tokens: with which the rows of a pass begin, and which are computed once for all of
            them, without padding; 0: rows are padded.
        weighs_labels: ``weights`` have the class weights of the settings in them.
    """

    inputs: Sequence[Any]
    targets: Any
    weights: Any = None
    draw: Callable[[Sequence[int]], Drawn] | None = None
    order: random.Random | None = None
    shared_tokens: int = 0
    weighs_labels: bool = False

    def of(self, batch: Sequence[int]) -> Drawn:
        """Return some rows for one step."""
        if self.draw is not None:
            return self.draw(batch)
        return Drawn([self.inputs[i] for i in batch], self.targets[list(batch)])


def batches(
    lengths: Sequence[int], items: int, order: random.Random, *, is_padded: bool = True
) -> list[list[int]]:
    """Return indexes of inputs in random batches.

    Args:
        lengths: of the inputs.
        items: of a batch.
        order: of the inputs.
        is_padded: batches have inputs of similar lengths. Labels often differ in length, so such
            batches are less mixed; what is not padded has nothing from them.
    """
    shuffled = list(range(len(lengths)))
    order.shuffle(shuffled)
    found = []
    together = items * (_POOL_BATCHES if is_padded else 1)
    for start in range(0, len(shuffled), together):
        pool = sorted(shuffled[start : start + together], key=lengths.__getitem__)
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
        rounded = -(-(packed + own) // LENGTH_STEP) * LENGTH_STEP
        wide = rounded if shared else (len(part) + 1) * lengths[i]
        if tokens is not None and part and wide > tokens:
            yield part
            part, packed = [], shared
        part.append(i)
        packed += own
    yield part
