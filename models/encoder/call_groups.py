"""Which rows are padded together and computed in one call, from what a call costs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Final

from streamlabel.models.core.call_cost import CallCost

__all__ = ["CallGroups", "plan_groups"]

# Fixed cost of one call of the model, in padded tokens that could be computed in the same time: low
# on a CPU, high on devices where each kernel is launched separately. On a device it holds until the
# cost is known from measured calls.
_CALL_TOKENS: Final = {"cpu": 64, "cuda": 2048, "npu": 2048}
# More padding than this is never added to save a call: it also takes memory.
_MOST_TOKENS: Final = 8192


class CallGroups:
    """Plans the calls of a device and learns from their times.

    On a CPU nothing is learned: a call costs little there, and other processes share the cores.

    Args:
        device: its name.
    """

    def __init__(self, device: str) -> None:
        kind = device.partition(":")[0]
        self._first_tokens = _CALL_TOKENS[kind]
        self._cost = None if kind == "cpu" else CallCost()

    @property
    def call_tokens(self) -> int:
        """The cost of a call, in tokens."""
        known = None if self._cost is None else self._cost.call_tokens()
        return self._first_tokens if known is None else round(min(known, _MOST_TOKENS))

    def plan(self, lengths: Sequence[int], *, may_pad: bool = True) -> list[tuple[int, int]]:
        """Return [start, end) of the groups of rows with these lengths, longest first.

        Args:
            lengths: of the rows.
            may_pad: False: only rows of one length are computed together.
        """
        return plan_groups(lengths, call_tokens=self.call_tokens if may_pad else 0)

    @contextmanager
    def measured(self, lengths: Sequence[int], groups: Sequence[tuple[int, int]]) -> Iterator[None]:
        """Learn from the time of the calls of these groups, results on the host included."""
        began_s = perf_counter()
        yield
        if self._cost is not None:
            padded = sum(lengths[start] * (end - start) for start, end in groups)
            seconds = perf_counter() - began_s
            self._cost.learn(calls=len(groups), tokens=padded, seconds=seconds)


def plan_groups(lengths: Sequence[int], *, call_tokens: int) -> list[tuple[int, int]]:
    """Return [start, end) of the groups of rows that are computed in one call.

    Args:
        lengths: of the rows, longest first.
        call_tokens: cost of a call, in tokens; a group ends before its padding costs more.
    """
    groups: list[tuple[int, int]] = []
    start, padding = 0, 0
    for i, length in enumerate(lengths):
        padding += lengths[start] - length
        if padding > call_tokens:
            groups.append((start, i))
            start, padding = i, 0
    if lengths:
        groups.append((start, len(lengths)))
    return groups
