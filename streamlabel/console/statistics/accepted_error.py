"""The error rate among accepted records, from the audit sample, with a bound valid at any time.

The audit draws accepted records at random, so the share of wrong ones among their verdicts is an
unbiased estimate. A usual interval is right for one look only, and this page is looked at often.
This bound holds at all looks together: a Beta mixture of likelihood ratios is a martingale under
the true rate, and exceeds 1/delta with probability delta at most, ever (Ville).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streamlabel.console.store.items import VerdictRow

__all__ = ["AuditPoint", "audit_curve", "upper_bound"]

DELTA: Final = 0.05
# Prior of the mixture: about two errors in a hundred, so that it is tight for small error rates.
_A: Final = 0.5
_B: Final = 20.0
_STEPS: Final = 60  # halvings: to the last bit of the bound
_POINTS: Final = 200  # of a curve


@dataclass(frozen=True, slots=True)
class AuditPoint:
    """The audit after some verdicts.

    Attributes:
        audited: verdicts with a decision.
        wrong: of them those that corrected the model.
        rate: their share.
        bound: the error rate is at most this with 95 % confidence, at all points together.
    """

    audited: int
    wrong: int
    rate: float
    bound: float


def audit_curve(rows: Sequence[VerdictRow], *, label: str | None = None) -> list[AuditPoint]:
    """Return the audit so far, oldest first: every verdict, or evenly chosen ones of many.

    Args:
        rows: verdicts in the order of their decision. Only first looks at audit items with a
            decision count; those without one are missing, which ``wrong`` cannot show.
        label: of the model, whose accepted records are meant; None: all.
    """
    errors = [
        set(row.labels) != set(row.model_labels)
        for row in rows
        if row.purpose == "audit" and row.look == 1
        if row.labels is not None and row.model_labels is not None
        if label is None or label in row.model_labels
    ]
    every = max(1, math.ceil(len(errors) / _POINTS))
    points, wrong = [], 0
    for audited, error in enumerate(errors, 1):
        wrong += error
        if audited % every == 0 or audited == len(errors):
            bound = upper_bound(wrong, audited)
            points.append(AuditPoint(audited, wrong, wrong / audited, bound))
    return points


def upper_bound(wrong: int, audited: int, *, delta: float = DELTA) -> float:
    """Return the largest error rate that is not refuted, in [wrong/audited, 1].

    Source: Robbins, Statistical methods related to the law of the iterated logarithm, 1970: the
    mixture over all rates; the confidence sequence of its Beta prior.
    """
    if audited == 0:
        return 1.0
    mixture = _log_beta(_A + wrong, _B + audited - wrong) - _log_beta(_A, _B)
    limit = -math.log(delta)
    low, high = wrong / audited, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        likelihood = _times_log(wrong, middle) + _times_log(audited - wrong, 1 - middle)
        if mixture - likelihood < limit:
            low = middle
        else:
            high = middle
    return high


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _times_log(number: int, share: float) -> float:
    if number == 0:
        return 0.0
    return number * math.log(share) if share > 0 else -math.inf
