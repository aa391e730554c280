"""How many tokens a batch may have: lowered when memory runs out, raised while it does not. Pure.

Additive increase, multiplicative decrease, as in congestion control: how much fits changes,
because other processes use the device too, so a lower budget is temporary. One incident, which is
one batch and all the parts it was split into, lowers it once.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = ["TokenBudget"]

# Successful batches until the whole budget is restored: minutes of traffic. A faster increase would
# lose more time to out-of-memory errors than larger batches gain.
_STEPS = 256


class TokenBudget:
    """The present budget, between 1 and what it was at the start.

    Args:
        tokens: at the start; never more.
        size: cost of texts in one batch, in tokens of the budget.
        on_change: called with the new budget and whether it is lower.
    """

    def __init__(
        self,
        tokens: int,
        *,
        size: Callable[[Sequence[Any]], int],
        on_change: Callable[[int, bool], None] = lambda _tokens, _fell: None,
    ) -> None:
        self.tokens = tokens
        self.size = size
        self._limit = tokens
        self._step = max(1, tokens // _STEPS)
        self._works = 0  # the largest batch that is known to fit
        self._on_change = on_change

    def fitted(self, items: Sequence[Any]) -> None:
        """Note a batch that fitted."""
        self._works = max(self._works, self.size(items))
        self._change(self.tokens + self._step)

    def settled(self, *, failed: Iterable[Sequence[Any]], fitted: Iterable[Sequence[Any]]) -> None:
        """Note the end of an incident.

        Args:
            failed: parts of the batch that did not fit, without those that contain a text that does
                not fit even alone: such a text says nothing about the size of batches.
            fitted: parts of the batch that did fit.
        """
        works = max(map(self.size, fitted), default=0)
        # A part that is no larger than one that has just fitted was not too large: other processes
        # had the memory.
        too_large = min((n for n in map(self.size, failed) if n > works), default=None)
        if too_large is not None and self._works >= too_large:
            self._works = 0  # less memory is free now, so the earlier success no longer counts
        self._works = max(self._works, works)
        self._change(self.tokens if too_large is None else min(self.tokens, too_large // 2))

    def _change(self, tokens: int) -> None:
        tokens = min(self._limit, max(tokens, self._works, 1))
        if tokens != self.tokens:
            fell, self.tokens = tokens < self.tokens, tokens
            self._on_change(tokens, fell)
