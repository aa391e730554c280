"""What a call of a model costs, learned from measured calls: so much a call, so much a token. Pure.

The least squares of relative errors, because the time of a large call varies by more seconds than
that of a small one. Older calls count less: texts change, and so does what else the device does.
"""

from typing import Final

__all__ = ["CallCost"]

# Share of what is known that is kept at each call: about the last 200 calls count.
_KEPT: Final = 0.995
# Calls before anything is said.
_FEWEST: Final = 16
# Calls that are nearly alike cannot tell the cost of a call from that of its tokens: 1 less the
# squared correlation of the two must be this large.
_LEAST_SPREAD: Final = 0.02


class CallCost:
    """Learns from measured calls.

    Args:
        kept: share of what is known that is kept at each call, in (0, 1]; 1: all calls count alike.
    """

    def __init__(self, *, kept: float = _KEPT) -> None:
        self._kept = kept
        self._seen = 0
        # weighted sums: calls x calls, calls x tokens, tokens x tokens, both with seconds
        self._cc = self._ct = self._tt = self._cs = self._ts = 0.0

    def learn(self, *, tokens: int, seconds: float, calls: int = 1) -> None:
        """Note ``calls`` calls that computed ``tokens`` tokens together, padding included."""
        if seconds <= 0:
            return
        weight = 1 / (seconds * seconds)
        kept = self._kept
        self._cc = kept * self._cc + weight * calls * calls
        self._ct = kept * self._ct + weight * calls * tokens
        self._tt = kept * self._tt + weight * tokens * tokens
        self._cs = kept * self._cs + weight * calls * seconds
        self._ts = kept * self._ts + weight * tokens * seconds
        self._seen += 1

    def fitted(self) -> tuple[float, float] | None:
        """Return seconds of a call and of a token, both >= 0; None while they look alike."""
        if self._seen < _FEWEST:
            return None
        spread = self._cc * self._tt - self._ct * self._ct
        if spread < _LEAST_SPREAD * self._cc * self._tt:
            return None
        call_s = (self._cs * self._tt - self._ts * self._ct) / spread
        token_s = (self._cc * self._ts - self._ct * self._cs) / spread
        if call_s < 0:  # noise: a call costs nothing but its tokens
            return 0.0, self._ts / self._tt
        if token_s < 0:
            return self._cs / self._cc, 0.0
        return call_s, token_s

    def call_tokens(self) -> float | None:
        """Return how many tokens could be computed in the time of a call; None: not known."""
        fitted = self.fitted()
        if fitted is None:
            return None
        call_s, token_s = fitted
        return call_s / token_s if token_s > 0 else float("inf")

    def least_batch(self, most_tokens: int, *, loss: float) -> int | None:
        """Return the smallest batch whose tokens cost nearly as little as in the largest one.

        Args:
            most_tokens: of the largest batch.
            loss: share by which a token may cost more, > 0.

        Returns:
            Its tokens, in [1, ``most_tokens``]; None if not known.
        """
        call = self.call_tokens()
        if call is None:
            return None
        if call == float("inf"):
            return most_tokens
        # call / n + 1 <= (1 + loss) (call / most + 1), solved for n
        return max(1, min(most_tokens, round(call / (loss + (1 + loss) * call / most_tokens))))
