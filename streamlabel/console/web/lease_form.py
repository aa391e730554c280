"""The signed lease that a form carries: whose it is, of which item, and since when it is shown."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from itsdangerous import BadData, URLSafeSerializer

from streamlabel.console.store.items import Lease

__all__ = ["LeaseForms", "ShownLease"]


@dataclass(frozen=True, slots=True)
class ShownLease:
    """A lease as it was on a page.

    Attributes:
        lease: its reviewer must be the one of the request. Its end is not known to the form.
        shown_at: when the page was made.
        saw_model_answer: whether the model's answer was on it.
    """

    lease: Lease
    shown_at: datetime
    saw_model_answer: bool

    def duration_ms(self, visible_ms: str, *, now: datetime) -> int | None:
        """Return how long the text was shown.

        Args:
            visible_ms: as the page measured it, without the time in the background. It counts if
                it is plausible; otherwise the whole time since the page was made.
            now: the time.
        """
        since_ms = max(0, round((now - self.shown_at).total_seconds() * 1000))
        if visible_ms.isascii() and visible_ms.isdigit() and len(visible_ms) < 12:
            return min(int(visible_ms), since_ms)
        return since_ms


class LeaseForms:
    """Signs and reads leases in forms.

    Args:
        secret: None: a random one; forms of before a restart are refused then, as stale ones are.
    """

    def __init__(self, secret: str | None) -> None:
        key = secret or secrets.token_hex(32)
        self._signer = URLSafeSerializer(key, salt="streamlabel.console.lease")

    def write(self, lease: Lease, *, now: datetime, saw_model_answer: bool) -> str:
        """Return the value of the form's field."""
        at_ms = round(now.timestamp() * 1000)
        return str(
            self._signer.dumps(
                [lease.item_id, lease.reviewer, lease.generation, at_ms, int(saw_model_answer)]
            )
        )

    def read(self, value: str, *, reviewer: str) -> ShownLease | None:
        """Return the lease of a form; None if it is not ours, or another person's."""
        try:
            item_id, owner, generation, at_ms, saw = self._signer.loads(value)
        except (BadData, ValueError, TypeError):
            return None
        if owner != reviewer:
            return None
        shown_at = datetime.fromtimestamp(at_ms / 1000, UTC)
        return ShownLease(Lease(item_id, owner, generation, shown_at), shown_at, bool(saw))
