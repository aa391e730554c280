"""The audit: accepted records that are also reviewed, to measure their error rate. Pure."""

import hashlib
from dataclasses import replace

from pydantic import SecretStr

from streamlabel.consumer.routing.decision import Decision

__all__ = ["AuditSample"]

_HASHES = 2**64


class AuditSample:
    """The audit: a random sample of the accepted records that is also reviewed.

    Review shows errors of uncertain records only. The audit sample is the only unbiased estimate of
    the error rate of accepted ones, and later calibrations can use it (with weight 1 /
    probability). Draws by a keyed hash of the record's id: a record that is read again gets the
    same result, and without the key nobody can compute it. Each model draws for itself, so that a
    record that one task does not audit is not exempt from the audits of the others.

    Without a key, a producer that chooses its ids could compute which of its records are never
    drawn; the settings allow that only if ids are positions.

    Args:
        share: in (0, 1].
        name: id of the deployment, which contains the names of task and stage.
        key: the secret; None: there is none.

    Source: BLAKE2 in its keyed mode, RFC 7693.
    """

    def __init__(self, share: float, *, name: str = "model", key: SecretStr | None = None) -> None:
        self._share = share
        self._limit = share * _HASHES
        # BLAKE2 takes a key of 64 bytes at most; hashing it first uses all of a longer one.
        secret = b"" if key is None else hashlib.blake2b(key.get_secret_value().encode()).digest()
        # names contain no NUL, so that no two pairs of name and id are the same message
        self._begun = hashlib.blake2b(b"audit\0" + name.encode() + b"\0", digest_size=8, key=secret)

    def draws(self, record_id: str) -> bool:
        """Return whether this record is in the sample."""
        drawn = self._begun.copy()
        # ids are input and may contain lone surrogates
        drawn.update(record_id.encode("utf-8", "surrogatepass"))
        return int.from_bytes(drawn.digest()) < self._limit

    def applied(self, decision: Decision, record_id: str) -> Decision:
        """Return the decision; an accepted one that is drawn becomes a copy to review."""
        if decision.route != "label" or not self.draws(record_id):
            return decision
        return replace(decision, route="copy", reasons=("audit",), audit_probability=self._share)
