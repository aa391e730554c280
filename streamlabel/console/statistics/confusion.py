"""How one reviewer's verdicts compare with known answers and with those of others."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streamlabel.console.statistics.agreement import ratings_of
from streamlabel.console.store.items import VerdictRow

__all__ = ["ReviewerFigures", "figures_of", "reviewers_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewerFigures:
    """One reviewer in numbers; for them and for leads.

    Attributes:
        verdicts: all, skipped and unsure ones included.
        unsure: of them without a decision.
        gold: decided gold items.
        gold_right: of them decided as known.
        agreeing: second looks in which both decided the same.
        compared: second looks that they took part in.
        median_ms: of the time that a text was shown; None: not known.
        matrix: (expected, given) -> number, from gold items and from records that others decided.
    """

    reviewer: str
    verdicts: int
    unsure: int
    gold: int
    gold_right: int
    agreeing: int
    compared: int
    median_ms: int | None
    matrix: Mapping[tuple[str, str], int]

    @property
    def labels(self) -> list[str]:
        """Labels of the matrix, by name."""
        return sorted({label for pair in self.matrix for label in pair})


def reviewers_of(rows: Sequence[VerdictRow]) -> list[str]:
    """Return everybody who decided, by name."""
    return sorted({row.reviewer for row in rows})


def figures_of(reviewer: str, rows: Sequence[VerdictRow]) -> ReviewerFigures:
    """Return the figures of one reviewer, from the verdicts of all."""
    own = [row for row in rows if row.reviewer == reviewer]
    gold = [row for row in own if row.gold_labels is not None and row.labels is not None]
    matrix: Counter[tuple[str, str]] = Counter(
        (_named(row.gold_labels or ()), _named(row.labels or ())) for row in gold
    )
    agreeing = compared = 0
    for given in ratings_of(rows).values():
        mine = dict(given).get(reviewer)
        if mine is None:
            continue
        for other, labels in given:
            if other != reviewer:
                compared += 1
                agreeing += labels == mine
                matrix[_named(labels), _named(mine)] += 1
    times = sorted(row.duration_ms for row in own if row.duration_ms is not None)
    return ReviewerFigures(
        reviewer=reviewer,
        verdicts=len(own),
        unsure=sum(row.action == "unsure" for row in own),
        gold=len(gold),
        gold_right=sum(set(row.labels or ()) == set(row.gold_labels or ()) for row in gold),
        agreeing=agreeing,
        compared=compared,
        median_ms=times[len(times) // 2] if times else None,
        matrix=matrix,
    )


def _named(labels: Sequence[str] | frozenset[str]) -> str:
    return ", ".join(sorted(labels)) or "-"
