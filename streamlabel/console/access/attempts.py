"""Limits how often somebody may try to sign in, by address and by name."""

from collections import OrderedDict, deque
from typing import Final

__all__ = ["Attempts"]

_WINDOW_S: Final = 300.0
# An office behind one address signs in; a person mistypes. A name has more than an address, so that
# one attacker cannot keep its owner out from elsewhere.
_BY_ADDRESS: Final = 10
_BY_NAME: Final = 30
_REMEMBERED: Final = 10_000  # addresses and names; the oldest are forgotten first


class Attempts:
    """Failed attempts in a sliding window. Time is an argument: monotonic seconds."""

    def __init__(self) -> None:
        self._at_s: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def wait_s(self, *, address: str, name: str, now_s: float) -> float:
        """Return how long to wait before the next attempt, in seconds; 0: try now."""
        return max(
            self._wait_s(("address", address), _BY_ADDRESS, now_s),
            self._wait_s(("name", name), _BY_NAME, now_s),
        )

    def failed(self, *, address: str, name: str, now_s: float) -> None:
        """Count a failed attempt."""
        for key in (("address", address), ("name", name)):
            self._at_s.setdefault(key, deque(maxlen=_BY_NAME)).append(now_s)
            self._at_s.move_to_end(key)
        while len(self._at_s) > _REMEMBERED:
            self._at_s.popitem(last=False)

    def succeeded(self, *, address: str) -> None:
        """Forget the failures of an address, whose owner has signed in."""
        self._at_s.pop(("address", address), None)

    def _wait_s(self, key: tuple[str, str], limit: int, now_s: float) -> float:
        times = self._at_s.get(key)
        if not times:
            return 0.0
        while times and times[0] <= now_s - _WINDOW_S:
            times.popleft()
        return 0.0 if len(times) < limit else times[-limit] + _WINDOW_S - now_s
