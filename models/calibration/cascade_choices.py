"""What the stages of a cascade answered for labelled texts, and where thresholds send these. Pure.

``route`` does for all texts at once what ``consumer.plans.cascade`` does for a record; a property
test compares them, record for record.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["NO_ANSWER", "Routed", "StageChoices", "route"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# The confidence of a text for which a stage failed: below every threshold.
NO_ANSWER = float("-inf")


@dataclass(frozen=True, slots=True)
class StageChoices:
    """What one stage answered for labelled texts; every stage is asked about every text.

    Attributes:
        answer: shape (N,), a number for the predicted labels, the same one in every stage.
        confidence: shape (N,), calibrated; ``NO_ANSWER`` without a usable answer.
        is_open: shape (N,): no other reason than its confidence keeps the stage from being sure.
        is_wrong: shape (N,).
        price: of asking this stage about a text.
    """

    answer: Integers
    confidence: Floats
    is_open: Bools
    is_wrong: Bools
    price: float

    def taken(self, texts: Bools) -> "StageChoices":
        """Return the same for some of the texts."""
        return StageChoices(
            self.answer[texts],
            self.confidence[texts],
            self.is_open[texts],
            self.is_wrong[texts],
            self.price,
        )


@dataclass(frozen=True, slots=True)
class Routed:
    """Where texts go.

    Attributes:
        stage: shape (N,), index of the last stage that is asked.
        is_accepted: shape (N,): this stage is sure, and no earlier one contradicts it.
        is_wrong: shape (N,), its answer.
    """

    stage: Integers
    is_accepted: Bools
    is_wrong: Bools

    def cost(self, prices: Sequence[float], review_price: float) -> float:
        """Return the mean cost of a text: of the stages that were asked, and of reviews."""
        asked = np.cumsum(prices)[self.stage]
        return float(asked.mean() + review_price * (~self.is_accepted).mean())

    def shares(self, stages: int) -> tuple[float, ...]:
        """Return the share of the texts that each stage decides."""
        counts = np.bincount(self.stage[self.is_accepted], minlength=stages)
        return tuple((counts / len(self.stage)).tolist())


def route(stages: Sequence[StageChoices], thresholds: Sequence[float]) -> Routed:
    """Return where texts go if every stage accepts from its threshold on.

    Args:
        stages: in their order.
        thresholds: one for each stage; above 1: it accepts nothing.
    """
    last = len(stages) - 1
    stage = np.full(len(stages[0].answer), last)
    is_accepted = np.zeros(len(stage), dtype=bool)
    is_wrong = stages[last].is_wrong.copy()
    waits = np.ones(len(stage), dtype=bool)
    reached: list[Bools] = []
    for index, (each, threshold) in enumerate(zip(stages, thresholds, strict=True)):
        is_sure = waits & each.is_open & (each.confidence >= threshold)
        contradicted = np.zeros(len(stage), dtype=bool)
        for earlier, has_reached in zip(stages, reached, strict=False):
            contradicted |= has_reached & (earlier.answer != each.answer)
        stage[is_sure] = index
        is_wrong[is_sure] = each.is_wrong[is_sure]
        is_accepted |= is_sure & ~contradicted
        waits &= ~is_sure
        # a decision names no threshold above 1
        reached.append(each.confidence >= min(threshold, 1.0))
    return Routed(stage, is_accepted, is_wrong)
