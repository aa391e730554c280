"""The outputs of the service, each joined with its sample. Pure."""

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
        why: the reasons of a review, or the reason and message of a dead letter.
        latency_s: from the producer's send to reading the output back.
    """

    sample: Sample
    route: Route
    label: str | None
    confidence: float | None
    why: str
    latency_s: float

    @property
    def is_right(self) -> bool | None:
        """Whether the label is correct; None if the correct one is unknown."""
        return None if self.sample.label is None else self.label == self.sample.label


class Tally:
    """All outputs so far."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self._outputs: Counter[str] = Counter()

    def add(self, answer: Answer) -> None:
        """Count one more output."""
        self.answers.append(answer)
        self._outputs[answer.sample.id] += 1

    def count(self, route: Route) -> int:
        """Return the number of outputs with this route."""
        return sum(answer.route == route for answer in self.answers)

    def of(self, route: Route) -> list[Answer]:
        """Return the outputs with this route, in order of arrival."""
        return [answer for answer in self.answers if answer.route == route]

    def answered(self, sample_ids: Iterable[str]) -> bool:
        """Return whether there is an output for each of these samples."""
        return all(self._outputs[sample_id] for sample_id in sample_ids)

    def imbalance(self, *, sent: int, read: int) -> str:
        """Return how the counts disagree; empty if they match."""
        outputs = len(self.answers)
        if len(self._outputs) != outputs:
            return f"{outputs - len(self._outputs)} duplicate output(s)"
        if not sent == read == outputs:
            return f"{sent} sent, {read} read and committed, {outputs} outputs"
        return ""

    def accuracy(self, routes: Sequence[Route] = ("label", "review")) -> tuple[int, int]:
        """Return the number of correct unseen samples, and the number with a known label.

        A text in review counts with the model's most probable label.
        """
        judged = [a.is_right for a in self.answers if a.route in routes and a.is_right is not None]
        return sum(judged), len(judged)


def quantile(values: Sequence[float], q: float) -> float:
    """Return the quantile ``q`` of ``values``, which is one of them; NaN if there are none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
