"""The error rate among accepted records, from the audit sample, with a bound valid at any time.

The audit draws accepted records at random, so the weighted share of wrong ones among their verdicts
estimates the rate without bias. A usual interval is right for one look only, and the page with
these figures is looked at often: the bound, and the evidence against the target, hold at all looks
together (``models.calibration.target_bets``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streamlabel.console.store.items import VerdictRow
from streamlabel.models.calibration.target_bets import TargetBets

__all__ = ["AuditPoint", "audit_curve"]

_CONFIDENCE: Final = 0.95
_ALARM: Final = -math.log(1 - _CONFIDENCE)
_POINTS: Final = 200  # of a curve
# Without a target there is a bound all the same; evidence needs one, and is not shown then.
_ANY_TARGET: Final = 0.05


@dataclass(frozen=True, slots=True)
class AuditPoint:
    """The audit after some verdicts.

    Attributes:
        audited: verdicts with a decision.
        wrong: of them those that corrected the model.
        rate: their share, weighted by the inverse of the probability of the audit.
        bound: the error rate is at most this with 95 % confidence, at all points together.
        is_refuted: whether the evidence against the target was ever 20 to 1; if the target holds,
            that happens in 5 % of all audits, however long. False without a target.
    """

    audited: int
    wrong: int
    rate: float
    bound: float
    is_refuted: bool


def audit_curve(rows: Sequence[VerdictRow], *, target: float | None = None) -> list[AuditPoint]:
    """Return the audit so far, oldest first: every verdict, or evenly chosen ones of many.

    Args:
        rows: verdicts in the order of their decision. First looks at audited records count, if
            they have a decision; those without one are missing, which ``wrong`` cannot show.
        target: largest error rate that was promised, in (0, 1); None: unknown.
    """
    audits = [
        row
        for row in rows
        if row.look == 1 and (row.purpose == "audit" or row.reasons == ("audit",))
        if row.labels is not None and row.model_labels is not None
    ]
    bets = TargetBets(target or _ANY_TARGET)
    every = max(1, math.ceil(len(audits) / _POINTS))
    points = []
    whole = wrong = 0.0
    for number, row in enumerate(audits, 1):
        is_wrong = set(row.labels or ()) != set(row.model_labels or ())
        probability = row.review_probability or 1.0
        bets.saw(is_wrong=is_wrong, probability=probability)
        whole += 1 / probability
        wrong += is_wrong / probability
        if number % every == 0 or number == len(audits):
            points.append(
                AuditPoint(
                    number,
                    bets.wrong,
                    wrong / whole,
                    bets.upper_bound(confidence=_CONFIDENCE),
                    target is not None and bets.peak >= _ALARM,
                )
            )
    return points
