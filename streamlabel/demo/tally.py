"""What came back: every answer of the service joined with the sample that caused it. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from streamlabel.demo.samples import Sample

__all__ = ["Answer", "Tally", "quantile"]

Route = Literal["label", "review", "dead letter"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One output of the service.

    Attributes:
        label: None for a dead letter.
        confidence: of the label, in [0, 1].
        why: reasons of a review, reason and message of a dead letter.
        latency_s: from handing the record to the producer to reading the output back.
    """

    sample: Sample
    route: Route
    label: str | None
    confidence: float | None
    why: str
    latency_s: float

    @property
    def is_right(self) -> bool | None:
        """Whether the label is the right one; None where nobody can say."""
        return None if self.sample.label is None else self.label == self.sample.label


class Tally:
    """Everything that came back so far."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self._outputs: Counter[str] = Counter()

    def add(self, answer: Answer) -> None:
        """Count one more output."""
        self.answers.append(answer)
        self._outputs[answer.sample.id] += 1

    def count(self, route: Route) -> int:
        """Return how many outputs took ``route``."""
        return sum(answer.route == route for answer in self.answers)

    def of(self, route: Route) -> list[Answer]:
        """Return the outputs that took ``route``, in the order in which they came."""
        return [answer for answer in self.answers if answer.route == route]

    def answered(self, sample_ids: Iterable[str]) -> bool:
        """Say whether there is an output for each of these samples."""
        return all(self._outputs[sample_id] for sample_id in sample_ids)

    def imbalance(self, *, sent: int, read: int) -> str:
        """Return what does not add up, empty if everything does."""
        outputs = len(self.answers)
        if len(self._outputs) != outputs:
            return f"{outputs - len(self._outputs)} output(s) came twice"
        if not sent == read == outputs:
            return f"{sent} sent, {read} read and committed, {outputs} outputs"
        return ""

    def accuracy(self, routes: Sequence[Route] = ("label", "review")) -> tuple[int, int]:
        """Return how many unseen samples with a known label are right, and how many there are.

        A text in review counts with the label that the model would have given.
        """
        judged = [a.is_right for a in self.answers if a.route in routes and a.is_right is not None]
        return sum(judged), len(judged)


def quantile(values: Sequence[float], q: float) -> float:
    """Return the smallest value that a share ``q`` of ``values`` does not exceed; NaN of none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
