"""Bets against a target error: evidence, at any time, that accepted labels are wrong more often.

Each audited record is a bet that its label is wrong, at odds that are fair if the error rate is at
the target. If it is at most the target, whatever is bet and whenever one looks, the capital exceeds
1 / a with a probability of at most a. Repeated tests of counts do not have this property: with a
look at a Clopper-Pearson bound every 100 audits, 23 % of simulated streams at the target looked
broken at some time.

Sources: Ville 1939; testing by betting, Shafer 2021; Waudby-Smith & Ramdas 2024; risk monitoring of
a deployed model, Podkopaev & Ramdas 2021.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["TargetBets"]

_Floats = NDArray[np.float64]

# Stakes: a capital of 1 is shared out among them. The best one for an error rate of r times a small
# target is r - 1, so that these find anything from a half more to forty times more.
_STAKES = (1.0, 3.0, 6.0, 10.0, 16.0, 25.0, 40.0)
# Largest part of the capital that a correct label may cost.
_MOST_LOST = 0.5
# Stakes of the upper bound: part of the capital that a wrong label costs.
_PARTS = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 0.95])
# Halvings in the search for the upper bound.
_HALVINGS = 40


@dataclass(frozen=True, slots=True)
class _Bet:
    """What one record was worth.

    Attributes:
        weight: in (0, 1]; 0: there was no bet.
    """

    is_wrong: bool
    weight: float


class TargetBets:
    """The bets about one target error. Not thread-safe.

    Records count in order of arrival: whether and when a verdict arrives may depend on anything but
    the label, given what arrived before.

    Args:
        target: error rate, in (0, 1).
    """

    def __init__(self, target: float) -> None:
        if not 0 < target < 1:
            raise ValueError(f"target {target} is not in (0, 1). This is a bug.")
        stakes = [stake for stake in _STAKES if stake * target <= _MOST_LOST]
        self._target = target
        self._stakes = np.array(stakes or [_MOST_LOST / target])
        self._log_capitals = np.zeros(len(self._stakes))
        self._counts: Counter[_Bet] = Counter()
        self._gains: dict[_Bet, _Floats] = {}  # few different bets, many records
        self._scale: float | None = None
        self._peak = 0.0

    def saw(self, *, is_wrong: bool, probability: float) -> float:
        """Bet on one audited record.

        Args:
            is_wrong: whether its label is.
            probability: with which it was audited, in (0, 1]. A bet is proportional to its inverse,
                relative to the lowest one so far: a record with a probability below all before sets
                the scale, and is not bet on, because stakes must be known in advance.

        Returns:
            The weight of the bet, for ``forget``; 0: there was none.
        """
        weight = 0.0
        if self._scale is None or probability < self._scale:
            self._scale = probability
        else:
            weight = self._scale / probability
        self._count(_Bet(is_wrong, weight), 1)
        self._peak = max(self._peak, self.log_evidence)
        return weight

    def forget(self, *, is_wrong: bool, weight: float) -> None:
        """Take a bet back, because its verdict was withdrawn or changed; the peak stays.

        Args:
            is_wrong: as it was bet.
            weight: as ``saw`` returned it.
        """
        self._count(_Bet(is_wrong, weight), -1)

    def _count(self, bet: _Bet, step: int) -> None:
        gain = self._gains.get(bet)
        if gain is None:
            odds = bet.weight * (bet.is_wrong - self._target)
            gain = self._gains[bet] = np.log1p(self._stakes * odds)
        self._log_capitals += step * gain
        self._counts[bet] += step

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the capital, which was 1 at the beginning."""
        return float(np.logaddexp.reduce(self._log_capitals)) - float(np.log(len(self._stakes)))

    @property
    def peak(self) -> float:
        """The largest ``log_evidence`` so far: an alarm stays one."""
        return self._peak

    @property
    def audits(self) -> int:
        """Records that were seen, and not forgotten."""
        return self._counts.total()

    @property
    def wrong(self) -> int:
        """How many of them are wrong."""
        return sum(count for bet, count in self._counts.items() if bet.is_wrong)

    @property
    def rate(self) -> float | None:
        """The error rate, weighted by inverse probability; None without bets."""
        whole = sum(bet.weight * count for bet, count in self._counts.items())
        if not whole:
            return None
        return sum(bet.weight * n for bet, n in self._counts.items() if bet.is_wrong) / whole

    def upper_bound(self, *, confidence: float) -> float:
        """Return an upper bound of the error rate that holds at all times together.

        Args:
            confidence: probability that it holds, in (0, 1).

        Returns:
            The smallest error rate that bets on correct labels refute, in [0, 1].
        """
        needed = float(np.log(1 / (1 - confidence)))
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self._log_evidence_below(middle) >= needed:
                high = middle
            else:
                low = middle
        return high

    def _log_evidence_below(self, rate: float) -> float:
        """Return the log evidence that the error rate is below ``rate``; grows with it."""
        odds = rate / (1 - rate)
        logs = np.zeros(len(_PARTS))
        for bet, count in self._counts.items():
            gain = -1.0 if bet.is_wrong else odds
            logs += count * np.log1p(_PARTS * (bet.weight * gain))
        return float(np.logaddexp.reduce(logs)) - float(np.log(len(_PARTS)))
