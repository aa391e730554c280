"""The audit: accepted records that are also reviewed, to measure their error rate. Pure."""

import hashlib
from dataclasses import replace

from streamlabel.consumer.routing.decision import Decision

__all__ = ["AuditSample"]

_HASHES = 2**64


class AuditSample:
    """The audit: a random sample of the accepted records that is also reviewed.

    Review shows errors of uncertain records only. The audit sample is the only unbiased estimate of
    the error rate of accepted ones, and later calibrations can use it (with weight 1 /
    probability). Draws by a hash of the record's id: a record that is read again gets the same
    result.

    The hash has no key: a producer that chooses its ids can compute which of its records are never
    drawn. Where ids come from outside, the sample measures the errors of honest producers only.

    Args:
        share: in (0, 1].
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._limit = share * _HASHES

    def draws(self, record_id: str) -> bool:
        """Return whether this record is in the sample."""
        # ids are input and may contain lone surrogates
        name = b"audit" + record_id.encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) < self._limit

    def applied(self, decision: Decision, record_id: str) -> Decision:
        """Return the decision; an accepted one that is drawn becomes a copy to review."""
        if decision.route != "label" or not self.draws(record_id):
            return decision
        return replace(decision, route="copy", reasons=("audit",), audit_probability=self._share)
