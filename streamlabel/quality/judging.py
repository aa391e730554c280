"""Whether the second of two models is worse, by true labels: bounds that hold at any time."""

from collections.abc import Sequence
from dataclasses import dataclass

from streamlabel.models.calibration.betting import running_lower_bounds, running_upper_bounds
from streamlabel.models.core.values import value

__all__ = ["AcceptedError", "Judged", "Judgement", "judge"]


@value
class Judged:
    """A record of both sides whose true labels are known.

    Attributes:
        wrong: by side: the labels are not exactly the true ones.
        accepted: by side: the result did not have to go to review.
        weight: inverse of the probability with which people looked at it; None: not known.
    """

    wrong: tuple[bool, bool]
    accepted: tuple[bool, bool]
    weight: float | None


@dataclass(frozen=True, slots=True)
class AcceptedError:
    """What a model accepts of the judged records.

    Attributes:
        records: judged records that it accepts.
        wrong: of these.
        share: wrong share of what it accepts, weighted; None: it accepts none.
        upper: bound of that share at the confidence, at any time.
    """

    records: int
    wrong: int
    share: float | None
    upper: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """How the wrong shares of both models compare.

    Attributes:
        records: judged records that are used: those of known weight.
        left_out: judged records whose probability of a review is not known.
        is_weighted: the records were drawn with different probabilities.
        difference: wrong share of the second model less that of the first one.
        lower: bounds of the difference after each record, in order.
        upper: likewise. Each of both series holds at all times together with ``confidence``.
        confidence: in (0, 1).
        accepted: by side.
    """

    records: int
    left_out: int
    is_weighted: bool
    difference: float
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    confidence: float
    accepted: tuple[AcceptedError, AcceptedError]

    def is_not_worse_by(self, margin: float) -> bool:
        """Return whether it is proven that the second model is not worse by more than this."""
        return self.upper[-1] <= margin


def judge(judged: Sequence[Judged], *, confidence: float) -> Judgement | None:
    """Return how two models compare; None if there is no record of known weight.

    The bounds are about the traffic from which the records were drawn. They may be looked at after
    every record, and judging may end as soon as they suffice.

    Args:
        judged: in the order in which they were judged, which must not depend on the results.
        confidence: of each series of bounds, in (0, 1).
    """
    used = [each for each in judged if each.weight is not None]
    if not used:
        return None
    weights = [each.weight or 1.0 for each in used]
    steps = [float(each.wrong[1]) - float(each.wrong[0]) for each in used]
    look = {"lowest": -1.0, "highest": 1.0, "confidence": confidence}
    mean = sum(w * step for w, step in zip(weights, steps, strict=True)) / sum(weights)
    return Judgement(
        records=len(used),
        left_out=len(judged) - len(used),
        is_weighted=len(set(weights)) > 1,
        difference=mean,
        lower=tuple(running_lower_bounds(steps, weights, **look).tolist()),
        upper=tuple(running_upper_bounds(steps, weights, **look).tolist()),
        confidence=confidence,
        accepted=(_accepted(used, 0, confidence), _accepted(used, 1, confidence)),
    )


def _accepted(used: Sequence[Judged], side: int, confidence: float) -> AcceptedError:
    kept = [each for each in used if each.accepted[side]]
    weights = [each.weight or 1.0 for each in kept]
    wrong = [float(each.wrong[side]) for each in kept]
    bounds = running_upper_bounds(wrong, weights, lowest=0.0, highest=1.0, confidence=confidence)
    share = sum(w * x for w, x in zip(weights, wrong, strict=True)) / sum(weights) if kept else None
    upper = float(bounds[-1]) if kept else 1.0
    return AcceptedError(len(kept), int(sum(wrong)), share, upper)
