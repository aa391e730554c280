"""Limits how many requests one account and one address may make, by what they ask for."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["Asked", "RateLimits", "Rates", "asked_for"]

Asked = Literal["page", "decision", "search"]

_MINUTE_S: Final = 60.0
_REMEMBERED: Final = 10_000  # accounts and addresses; the longest unused are forgotten first
# What reads many rows, computes statistics or sends whole texts.
_SEARCHES: Final = ("/lead/search", "/lead/items/", "/lead/quality", "/mine", "/text/")
_DECISIONS: Final = ("/review", "/undo", "/lead/items/", "/accounts")


def asked_for(method: str, path: str) -> Asked:
    """Return what a request asks for."""
    if method == "POST":
        return "decision" if path.startswith(_DECISIONS) else "page"
    return "search" if path.startswith(_SEARCHES) else "page"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """Requests a minute; None: no limit.

    Attributes:
        decisions: of one account.
        searches: of one account.
        requests: of one account, of every kind.
        of_address: of one address, of every kind and account, before anybody is known.
    """

    decisions: int | None = None
    searches: int | None = None
    requests: int | None = None
    of_address: int | None = None


class Rates:
    """Token buckets: a minute's share may be used at once, and comes back evenly.

    Time is an argument: monotonic seconds.
    """

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def of_account(self, name: str, asked: Asked, *, now_s: float) -> float:
        """Count a request of an account; return how long to wait instead, in seconds; 0: go on."""
        special = {"decision": self._limits.decisions, "search": self._limits.searches}
        return max(
            self._take(("account", name), self._limits.requests, now_s),
            self._take((asked, name), special.get(asked), now_s),
        )

    def of_address(self, address: str, *, now_s: float) -> float:
        """Count a request from an address; return how long to wait instead; 0: go on."""
        return self._take(("address", address), self._limits.of_address, now_s)

    def _take(self, key: tuple[str, str], limit: int | None, now_s: float) -> float:
        if limit is None:
            return 0.0
        left, since_s = self._buckets.pop(key, (float(limit), now_s))
        left = min(float(limit), left + max(0.0, now_s - since_s) * limit / _MINUTE_S)
        is_free = left >= 1.0
        # a refused request costs nothing: who waits as long as was said gets in
        self._buckets[key] = (left - 1.0 if is_free else left, now_s)
        while len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return 0.0 if is_free else (1.0 - left) * _MINUTE_S / limit
