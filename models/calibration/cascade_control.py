"""Thresholds of a cascade with one guarantee for all that its stages accept together.

The thresholds of all stages but the last follow from prices and the target error alone, before any
label is looked at. With these fixed, what is accepted only grows while the threshold of the last
stage falls, and no text changes the stage that decides about it. So the last threshold is tested
like that of a single model, against the errors of the union.

If no such test passes, a twentieth of the level is left for stricter thresholds of all stages.

Source: Learn then Test, Angelopoulos et al. 2021; thresholds from prices as in Chow 1970.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.calibration.binomial_bounds import labels_needed, upper_bound
from streamlabel.models.calibration.cascade_choices import StageChoices, route
from streamlabel.models.calibration.risk_control import prove
from streamlabel.models.calibration.thresholds import NEVER

__all__ = ["CascadePoint", "CascadePromise", "control_cascade", "earlier_thresholds"]

Floats = NDArray[np.float64]

# Of the level, for the tests of the last threshold; the rest is for stricter thresholds of all.
_MAIN = 0.95
# Risk of the least certain texts that are accepted, over the target error: for each error that an
# earlier stage adds, about 1 / (2 * target) of them have to be reviewed instead.
_MARGINAL = 2.0
# Numbers of accepted texts at which strict thresholds are tested.
_STEPS = 60
# Sequences of tests begin between these shares of the texts: few texts prove little, and among many
# errors are more frequent. Simulated as in benchmarks.plans, the cost over that of an oracle is
# 1.77, with a last start at 0.6 it is 1.85 (300 trials); with a first start at 0.1 it is higher by
# 0.07, at 0.3 by 0.04 (200 trials).
_FIRST, _LAST = 0.2, 0.45
# Points of the curve, beside the chosen one.
_POINTS = 12


@dataclass(frozen=True, slots=True)
class CascadePoint:
    """One choice of thresholds, on the labelled texts.

    Attributes:
        thresholds: one for each stage.
        cost: mean cost of a text, in the unit of the prices.
        shares: of the texts, that each stage decides.
        accepted: texts that skip review.
        errors: of those.
        bound: upper bound of their error rate, of this point alone.
    """

    thresholds: tuple[float, ...]
    cost: float
    shares: tuple[float, ...]
    accepted: int
    errors: int
    bound: float

    @property
    def review_share(self) -> float:
        """Share of the texts that goes to review."""
        return 1 - sum(self.shares)


@dataclass(frozen=True, slots=True)
class CascadePromise:
    """Thresholds of a cascade with the error that they guarantee.

    Attributes:
        chosen: the thresholds; they accept nothing if nothing could be proven.
        labels: labelled texts that were used.
        target: the target error.
        confidence: probability that it holds.
        curve: from strict to loose, the chosen point among them; those that accept more than the
            chosen one are not proven.
    """

    chosen: CascadePoint
    labels: int
    target: float
    confidence: float
    curve: tuple[CascadePoint, ...] = field(default=())

    @property
    def is_kept(self) -> bool:
        """Whether anything can be accepted at all."""
        return self.chosen.accepted > 0

    def __str__(self) -> str:
        """Return the guarantee in one line."""
        line = (
            f"review {self.chosen.review_share:.1%} of traffic; accepted error of all stages"
            f" together <= {self.target:.1%} ({self.confidence:.0%}), {self.labels:,} labels"
        )
        return line.replace("%", " %")


def control_cascade(
    stages: Sequence[StageChoices],
    *,
    review_price: float,
    target: float,
    confidence: float = 0.95,
    with_curve: bool = True,
) -> CascadePromise:
    """Return the cheapest thresholds whose accepted error is proven to be at most ``target``.

    Args:
        stages: for labelled texts, drawn like the traffic; at least two.
        review_price: of the review of a text, in the unit of the stages' prices.
        target: largest share of errors among what all stages accept, in (0, 1).
        confidence: probability that the target holds, in (0, 1).
        with_curve: whether other points are computed, too.
    """
    alpha = 1 - confidence
    earlier = earlier_thresholds(
        [each.price for each in stages], review_price=review_price, target=target
    )
    growing = _Growing.of(stages, earlier)
    items = len(growing.score)
    found = prove(
        growing.score,
        growing.is_wrong,
        target=target,
        alpha=_MAIN * alpha,
        least=max(int(np.isinf(growing.score).sum()), int(_FIRST * items)),
        last_start=_LAST,
    )
    if found is not None:
        chosen = (*earlier, found.threshold)
    else:
        chosen = _strict(stages, earlier, target=target, alpha=(1 - _MAIN) * alpha)

    def point(thresholds: tuple[float, ...]) -> CascadePoint:
        return _point(stages, thresholds, review_price=review_price, confidence=confidence)

    here = point(chosen)
    curve = [here]
    if with_curve:
        curve += [point((*earlier, limit)) for limit in growing.spread(_POINTS)]
        curve.sort(key=lambda each: (each.accepted, each.cost))
    return CascadePromise(here, len(stages[0].answer), target, confidence, tuple(curve))


def earlier_thresholds(
    prices: Sequence[float], *, review_price: float, target: float
) -> tuple[float, ...]:
    """Return the thresholds of all stages but the last, which no label influences.

    A stage accepts what it is so sure of that the errors to expect cost less than the next stage:
    up to the risk ``2 * target * price of the next stage / price of a review``, and never more
    than the target.

    Args:
        prices: of the stages.
        review_price: of the review of a text, in the same unit.
        target: largest share of errors among what all stages accept, in (0, 1).
    """
    risks = [_MARGINAL * target * price / review_price for price in prices[1:]]
    return tuple(1 - min(risk, target) for risk in risks)


@dataclass(frozen=True, slots=True)
class _Growing:
    """Texts in the order in which they are accepted while the last threshold falls.

    Attributes:
        score: the confidence of the last stage, descending; infinite for what an earlier one
            decides.
        is_wrong: in the same order.
    """

    score: Floats
    is_wrong: NDArray[np.bool_]

    @classmethod
    def of(cls, stages: Sequence[StageChoices], earlier: Sequence[float]) -> "_Growing":
        last = len(stages) - 1
        routed = route(stages, (*earlier, np.nextafter(0.0, 1.0)))
        inside = np.flatnonzero(routed.is_accepted)
        score = np.where(routed.stage[inside] == last, stages[last].confidence[inside], np.inf)
        order = np.argsort(-score, kind="stable")
        return cls(score[order], routed.is_wrong[inside][order])

    def spread(self, points: int) -> list[float]:
        """Return last thresholds, evenly spread over the texts; the first accepts nothing."""
        own = self.score[np.isfinite(self.score)]
        if not len(own):
            return [NEVER]
        at = np.linspace(0, len(own) - 1, points).astype(int)
        return [NEVER, *np.unique(own[at]).tolist()[::-1]]


def _strict(
    stages: Sequence[StageChoices], earlier: tuple[float, ...], *, target: float, alpha: float
) -> tuple[float, ...]:
    """Return equal thresholds, none below those given; tested from strict to loose."""
    from scipy.special import bdtr

    never = (NEVER,) * len(stages)
    sure = np.max([np.where(s.is_open, s.confidence, -np.inf) for s in stages], axis=0)
    ranked = np.sort(sure[np.isfinite(sure)])[::-1]
    first = labels_needed(target, confidence=1 - alpha)
    if len(ranked) < first:
        return never
    found = never
    for count in np.unique(np.geomspace(first, len(ranked), _STEPS).astype(int)):
        limit = float(ranked[count - 1])
        thresholds = (*(max(limit, each) for each in earlier), limit)
        routed = route(stages, thresholds)
        accepted = int(routed.is_accepted.sum())
        wrong = int((routed.is_accepted & routed.is_wrong).sum())
        if accepted >= first:  # how many are accepted says nothing about labels
            if bdtr(wrong, accepted, target) > alpha:
                break
            found = thresholds
    return found


def _point(
    stages: Sequence[StageChoices],
    thresholds: tuple[float, ...],
    *,
    review_price: float,
    confidence: float,
) -> CascadePoint:
    routed = route(stages, thresholds)
    accepted = int(routed.is_accepted.sum())
    errors = int((routed.is_accepted & routed.is_wrong).sum())
    return CascadePoint(
        thresholds,
        routed.cost([each.price for each in stages], review_price),
        routed.shares(len(stages)),
        accepted,
        errors,
        upper_bound(errors, accepted, confidence=confidence),
    )
