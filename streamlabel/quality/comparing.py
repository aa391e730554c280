"""How often two models agree on the same records, and whether the difference is chance. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streamlabel.models.calibration.binomial_bounds import mcnemar_p
from streamlabel.models.core.values import value

__all__ = ["Answer", "Comparison", "Discordance", "Key", "holm"]

# The labels that a record got: one; several or none in a multi-label task; none without an answer.
Answer = frozenset[str]


class Key(NamedTuple):
    """What is joined: a record's id, and the task if the stream has several."""

    id: str
    task: str


@value
class Discordance:
    """The records of which one side says yes and the other no: a 2 x 2 table without its diagonal.

    Attributes:
        first: records of which only the first side says yes.
        second: records of which only the second side does.
    """

    first: int
    second: int

    @property
    def p(self) -> float:
        """The p-value of McNemar's test."""
        return mcnemar_p(self.first, self.second)


@dataclass(slots=True)
class Comparison:
    """Counts over the records that both sides have.

    Attributes:
        records: number of them.
        agreed: both sides say exactly the same labels.
        pairs: (first, second) -> number of records, of those that differ.
        said: by side: label -> number of records.
        only: by side: label -> number of records of which only this side says it.
        judged: records whose true labels are known.
        right: by side: number of judged records with exactly the true labels.
        right_alone: by side: number of judged records of which only this side is right.
    """

    records: int = 0
    agreed: int = 0
    pairs: Counter[tuple[Answer, Answer]] = field(default_factory=Counter)
    said: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))
    only: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))
    judged: int = 0
    right: list[int] = field(default_factory=lambda: [0, 0])
    right_alone: list[int] = field(default_factory=lambda: [0, 0])

    def count(self, first: Answer, second: Answer, truth: Answer | None = None) -> None:
        """Count one record."""
        self.records += 1
        if first == second:
            self.agreed += 1
        else:
            self.pairs[first, second] += 1
        for side, mine, other in (0, first, second), (1, second, first):
            self.said[side].update(mine)
            self.only[side].update(mine - other)
        if truth is None:
            return
        self.judged += 1
        is_right = (first == truth, second == truth)
        for side in (0, 1):
            self.right[side] += is_right[side]
            self.right_alone[side] += is_right[side] and not is_right[1 - side]

    @property
    def labels(self) -> Sequence[str]:
        """All labels that a side says, most frequent first."""
        together = self.said[0] + self.said[1]
        return sorted(together, key=lambda label: (-together[label], label))

    def of_label(self, label: str) -> Discordance:
        """Return the records of which one side says a label and the other does not."""
        return Discordance(self.only[0][label], self.only[1][label])

    @property
    def of_truth(self) -> Discordance:
        """The judged records of which one side is right and the other wrong."""
        return Discordance(*self.right_alone)


def holm(p_values: Iterable[float]) -> list[float]:
    """Return p-values that hold together, in the same order.

    The probability that any of them is below a level by chance alone is at most that level.

    Source: Holm 1979.
    """
    given = list(p_values)
    adjusted = [1.0] * len(given)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(given)), key=given.__getitem__)):
        highest = max(highest, min(1.0, given[index] * (len(given) - rank)))
        adjusted[index] = highest
    return adjusted
