"""Thresholds from costs or from a review budget, and their results on labelled texts.

Thresholds for a target error are in ``risk_control``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.calibration.binomial_bounds import upper_bound, wilson_interval

__all__ = [
    "LEAST_THRESHOLD",
    "NEVER",
    "AnswerLimits",
    "Choices",
    "Group",
    "LabelEvidence",
    "Promise",
    "allow",
    "report",
    "weigh_costs",
]

# Above every confidence: such a label always goes to review.
NEVER = float("inf")

# Lowest threshold: used where review costs more than errors, so that everything is accepted.
LEAST_THRESHOLD = 1e-6


@dataclass(frozen=True, slots=True)
class Choices:
    """What the model chose for labelled texts.

    Attributes:
        label: shape (N,), index of the chosen label; all 0 where a record is judged as a whole
            (multi_label).
        confidence: shape (N,), calibrated.
        is_wrong: shape (N,).
        is_open: shape (N,): no other reason sends the text to review.
        names: of the K labels, each of which gets a threshold.
        judged_whole: a record has one confidence for all its labels (multi_label).
        decided: shape (N, K), the model's decisions; None: missed labels are not asked for.
        truth: shape (N, K); None with ``decided``.
        probabilities: shape (N, K), calibrated; None: nothing is chosen label by label.
    """

    label: NDArray[np.int64]
    confidence: NDArray[np.float64]
    is_wrong: NDArray[np.bool_]
    is_open: NDArray[np.bool_]
    names: tuple[str, ...]
    judged_whole: bool = False
    decided: NDArray[np.bool_] | None = None
    truth: NDArray[np.bool_] | None = None
    probabilities: NDArray[np.float64] | None = None

    def accepted(self, thresholds: Sequence[float]) -> NDArray[np.bool_]:
        """Return which texts (N,) are accepted with these thresholds."""
        limits = np.asarray(thresholds)[self.label]
        return np.asarray(self.is_open & (self.confidence >= limits))


@dataclass(frozen=True, slots=True)
class Group:
    """Labels that share a threshold and the evidence for it.

    Attributes:
        labels: their names; several are pooled because one alone has too few texts.
        threshold: ``NEVER`` if no threshold meets the target.
        accepted: labelled texts at or above the threshold.
        errors: how many of these are wrong.
        bound: upper bound of the true error rate of accepted texts, at the group's own level.
        stricter: thresholds that passed their tests, too, ascending: each accepts a good part less
            of the labelled texts than the one before.
    """

    labels: tuple[str, ...]
    threshold: float
    accepted: int
    errors: int
    bound: float
    stricter: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """Multi-label: thresholds for the two answers about each label.

    Attributes:
        present: shape (K,): minimum probability of a label to take it as present; ``NEVER``: such
            an answer is always unsure.
        absent: shape (K,): minimum probability that a label is absent, to take it as absent.
    """

    present: tuple[float, ...]
    absent: tuple[float, ...]

    def sure(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which answers (N, K) are sure, given calibrated probabilities (N, K)."""
        yes = probabilities >= 0.5
        limits = np.where(yes, np.asarray(self.present), np.asarray(self.absent))
        return np.asarray(np.where(yes, probabilities, 1 - probabilities) >= limits)


@dataclass(frozen=True, slots=True)
class LabelEvidence:
    """Multi-label: what the accepted texts say about one label with a target error.

    Attributes:
        accepted: texts.
        wrong: of those, with a wrong answer about the label.
    """

    label: str
    accepted: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Promise:
    """Thresholds, the review that they require and the error bound that they guarantee.

    Attributes:
        thresholds: shape (K,), in LabelSet order.
        labels: labelled texts that were used.
        review_share: fraction of them that goes to review.
        errors: among those accepted.
        bound: upper bound of the true error rate of accepted texts, at ``confidence``.
        groups: the evidence, where thresholds differ by label.
        target: the target error; None if the thresholds follow from costs or a budget.
    """

    thresholds: tuple[float, ...]
    labels: int
    accepted: int
    errors: int
    bound: float
    confidence: float
    target: float | None = None
    groups: tuple[Group, ...] = field(default=())
    absent: tuple[float, ...] = ()
    by_label: tuple[LabelEvidence, ...] = ()
    steps: tuple[AnswerLimits, ...] = ()

    @property
    def review_share(self) -> float:
        """Fraction of the texts that go to review."""
        return 1 - self.accepted / self.labels

    @property
    def is_kept(self) -> bool:
        """Whether anything can be accepted at all."""
        return self.accepted > 0

    def __str__(self) -> str:
        """Return review and error in one line: guaranteed for a target error, else measured.

        The words differ, because the numbers do: a budget or costs choose thresholds whatever the
        errors are.
        """
        if self.by_label:
            line = (
                f"review {self.review_share:.1%} of traffic; the answer about a label is wrong in"
                f" <= {self.bound:.1%} of accepted texts, for {len(self.by_label):,} label(s)"
                f" together ({self.confidence:.0%}), {self.labels:,} texts"
            )
        elif self.target is not None:
            line = (
                f"review {self.review_share:.1%} of traffic; accepted error <= {self.bound:.1%}"
                f" ({self.confidence:.0%}), {self.labels:,} labels"
            )
        else:
            low, high = wilson_interval(self.errors, self.accepted)
            share = self.errors / self.accepted if self.accepted else 0.0
            line = (
                f"review {self.review_share:.1%} of the {self.labels:,} labelled texts;"
                f" {self.errors:,} of {self.accepted:,} accepted labels were wrong: {share:.1%}"
                f" measured ({low:.1%} to {high:.1%}), not guaranteed"
            )
        return line.replace("%", " %")


def weigh_costs(
    choices: Choices, *, review: float, errors: Mapping[str, float], confidence: float = 0.95
) -> Promise:
    """Return the cheapest thresholds: accept where ``(1 - p) * cost of an error < review``.

    Args:
        choices: for the reported results; the thresholds follow from the costs alone.
        review: cost of one review, > 0.
        errors: label -> cost of accepting it wrongly, same unit.
        confidence: of the bound that is reported.

    Source: Chow 1970.
    """
    by_label = [max(LEAST_THRESHOLD, 1 - review / errors[name]) for name in choices.names]
    if choices.judged_whole:  # the record's confidence is that of its least certain label
        by_label = [max(by_label)] * len(by_label)
    return report(choices, by_label, confidence)


def allow(choices: Choices, *, max_review: float, confidence: float = 0.95) -> Promise:
    """Return the threshold that sends the least confident ``max_review`` of the texts to review.

    Raises:
        ValueError: other reasons alone send more to review.
    """
    items = len(choices.confidence)
    most = int(np.floor(max_review * items + 1e-9))
    forced = items - int(choices.is_open.sum())
    if forced > most:
        raise ValueError(
            f"{forced / items:.1%} of the texts go to review for other reasons than confidence;"
            f" no threshold brings review down to {max_review:.1%}"
        )
    ranked = np.sort(choices.confidence[choices.is_open])
    threshold = max(LEAST_THRESHOLD, float(ranked[most - forced])) if len(ranked) else NEVER
    return report(choices, [threshold] * len(choices.names), confidence)


def report(choices: Choices, thresholds: Sequence[float], confidence: float) -> Promise:
    """Return the results of thresholds (K,) that were chosen without a target error."""
    accepted = choices.accepted(thresholds)
    errors, count = int((choices.is_wrong & accepted).sum()), int(accepted.sum())
    bound = upper_bound(errors, count, confidence=confidence)
    return Promise(tuple(thresholds), len(accepted), count, errors, bound, confidence)
