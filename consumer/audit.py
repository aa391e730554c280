"""The audit: a random share of the certain texts that people see all the same. Pure.

Review queues show errors among what is uncertain only; this is the one unbiased view on errors
among what is accepted, and what a later calibration may be fitted to (weight 1 / probability).
"""

import hashlib
from dataclasses import replace

from streamlabel.consumer.decision import Decision

__all__ = ["AuditSample"]

_HASHES = 2**64


class AuditSample:
    """Draws by a hash of the record's id: a record read again gets the same answer.

    Args:
        share: in (0, 1].
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._limit = share * _HASHES

    def draws(self, record_id: str) -> bool:
        """Return whether people see this one."""
        # ids come from outside and may hold lone surrogates
        name = b"audit" + record_id.encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) < self._limit

    def applied(self, decision: Decision, record_id: str) -> Decision:
        """Return the decision, turned into a copy for people if it is certain and drawn."""
        if decision.route != "label" or not self.draws(record_id):
            return decision
        return replace(decision, route="copy", reasons=("audit",), audit_probability=self._share)
