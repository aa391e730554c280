"""The trial of a new plan on a share of the records, beside the present one."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from streamlabel.consumer.batching.keyed_share import KeyedShare
from streamlabel.consumer.batching.running_plan import RunningPlan
from streamlabel.consumer.core.records import TextRecord
from streamlabel.consumer.output.outcome import Outcomes
from streamlabel.models.core.values import value

__all__ = ["Canary", "CanaryLimits"]


@value
class CanaryLimits:
    """When a canary is worse than the present plan.

    Attributes:
        share: of the records that the canary gets, in (0, 1].
        records: so many outcomes of the canary are compared.
        max_dead_letters: how much larger its share of dead letters may be.
        max_slowdown: how many times longer a record may take, from reading to its outcome.
        max_label_shift: total variation distance of the labels, in [0, 1], that is allowed.
    """

    share: float
    records: int
    max_dead_letters: float = 0.01
    max_slowdown: float = 3.0
    max_label_shift: float = 0.2


@dataclass(slots=True)
class _Sample:
    """What a plan did to the records that it concluded during the trial."""

    records: int = 0
    dead: int = 0
    seconds: float = 0.0  # from reading to the outcome, in sum
    labels: Counter[str] = field(default_factory=Counter)


class Canary:
    """A plan that gets a share of the records, and what it does with them.

    The draw is keyed by the deployment and made by the key of the record, or its id: records with
    the same key stay with the same plan, and another deployment draws others.

    Args:
        running: the new plan.
        limits: when it is worse than the present one.
        name: of the deployment.

    Attributes:
        has_enough: set when as many outcomes as wanted can be compared.
    """

    def __init__(self, running: RunningPlan, limits: CanaryLimits, *, name: str) -> None:
        self.running = running
        self.has_enough = asyncio.Event()
        self._limits = limits
        self._share = KeyedShare(limits.share, name)
        self._canary, self._present = _Sample(), _Sample()

    def takes(self, record: TextRecord) -> bool:
        """Return whether the canary gets this record."""
        return self._share.draws(record)

    def saw(self, running: RunningPlan, outcomes: Outcomes, seconds: float) -> None:
        """Note what a plan did to a record, and how long after it was read."""
        sample = self._canary if running is self.running else self._present
        sample.records += 1
        sample.seconds += seconds
        sample.dead += any(outcome.route == "dead_letter" for outcome in outcomes)
        for outcome in outcomes:
            sample.labels[f"{outcome.task}: {outcome.label}"] += 1
        if self._canary.records >= self._limits.records and self._present.records:
            self.has_enough.set()

    def worse(self) -> str | None:
        """Return why the canary is worse than the present plan; None if it is not."""
        canary, present, limits = self._canary, self._present, self._limits
        dead, before = canary.dead / canary.records, present.dead / present.records
        if dead > before + limits.max_dead_letters:
            return f"{dead:.1%} of its records became dead letters, {before:.1%} of the others"
        took_s, before_s = canary.seconds / canary.records, present.seconds / present.records
        if took_s > before_s * limits.max_slowdown:
            return f"a record took {took_s:.3f} s, {before_s:.3f} s with the present deployment"
        shift = _distance(canary.labels, present.labels)
        if shift > limits.max_label_shift:
            return f"its labels differ by {shift:.2f} (total variation distance)"
        return None


def _distance(one: Counter[str], other: Counter[str]) -> float:
    """Return the total variation distance of two distributions of labels."""
    ones, others = max(1, one.total()), max(1, other.total())
    return sum(abs(one[name] / ones - other[name] / others) for name in one | other) / 2
