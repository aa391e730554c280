"""What the store decides by: times, shares and the key of pseudonyms."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["StoreRules"]

_PSEUDONYM_BYTES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRules:
    """The rules of the store, from the section ``console`` of the settings.

    Attributes:
        lease_s: how long a lease lasts.
        undo_s: how long a decision can be taken back.
        second_look_share: of decisions that get a second look, at random.
        gold_share: of items shown whose answer is known.
        pseudonym_key: secret.
        random: next number in [0, 1).
        audit_overdue_s: age from which on an audit without a decision is overdue.
    """

    lease_s: float
    undo_s: float
    second_look_share: float
    gold_share: float
    pseudonym_key: bytes
    random: Callable[[], float]
    audit_overdue_s: float

    @property
    def lease_ms(self) -> int:
        """How long a lease lasts."""
        return round(self.lease_s * 1000)

    @property
    def undo_ms(self) -> int:
        """How long a decision can be taken back."""
        return round(self.undo_s * 1000)

    def pseudonym(self, reviewer: str) -> str:
        """Return the name of a reviewer on the topic; equal for equal names and keys."""
        digest = hmac.digest(self.pseudonym_key, reviewer.encode("utf-8", "replace"), "sha256")
        return digest[:_PSEUDONYM_BYTES].hex()

    def draws_second_look(self) -> bool:
        """Return whether this decision gets a second look."""
        return self.random() < self.second_look_share

    def draws_gold(self) -> bool:
        """Return whether an item with a known answer is shown now."""
        return self.random() < self.gold_share
