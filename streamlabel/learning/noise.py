"""How often reviewers are wrong: from records with a known answer, and from second looks. Pure.

Source: Dawid & Skene 1979: each reviewer has a table of how often each true label is called what;
true labels and tables are estimated in turn until they agree.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlabel.consumer.output.verdict import VerdictMessage
from streamlabel.models.calibration.binomial_bounds import lower_bound, upper_bound

__all__ = [
    "Noise",
    "Vote",
    "corrected_error",
    "dawid_skene",
    "gold_errors",
    "raised_target",
    "votes_of",
]

Floats = NDArray[np.float64]

_ITERATIONS = 100
_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Vote:
    """What one reviewer said about one record; all are indexes."""

    item: int
    reviewer: int
    label: int


@dataclass(frozen=True, slots=True)
class Noise:
    """Estimates of true labels and of reviewers' errors.

    Attributes:
        truth: shape (N, K), probability of each label, by record.
        tables: shape (R, K, K): by reviewer and true label, the probability of what is said.
        prior: shape (K,), shares of the true labels.
    """

    truth: Floats
    tables: Floats
    prior: Floats

    @property
    def error(self) -> float:
        """Share of wrong verdicts, over all reviewers and true labels by their shares."""
        right = np.diagonal(self.tables.mean(axis=0))
        return float(1 - self.prior @ right)


def dawid_skene(
    votes: Sequence[Vote],
    *,
    labels: int,
    gold: Mapping[int, int] | None = None,
    smoothing: float = 0.0,
    iterations: int = _ITERATIONS,
) -> Noise:
    """Return the estimates.

    Args:
        votes: all verdicts; records and reviewers are numbered from 0 without gaps.
        labels: number K of labels.
        gold: record -> its true label, where it is known.
        smoothing: added to each count of a table, so that few votes do not exclude anything.
        iterations: rounds; each costs the number of votes times K.
    """
    item = np.array([vote.item for vote in votes])
    reviewer = np.array([vote.reviewer for vote in votes])
    said = np.array([vote.label for vote in votes])
    items, reviewers = int(item.max()) + 1, int(reviewer.max()) + 1
    known = gold or {}
    truth = np.zeros((items, labels))
    np.add.at(truth, (item, said), 1.0)  # begins with the majority
    truth /= truth.sum(axis=1, keepdims=True)
    _fix(truth, known)
    tables, prior = np.zeros((reviewers, labels, labels)), np.zeros(labels)
    for _ in range(iterations):
        prior = truth.mean(axis=0)
        tables = np.full((reviewers, labels, labels), smoothing)
        for label in range(labels):  # tables[r, true, said]
            np.add.at(tables[:, :, label], reviewer[said == label], truth[item[said == label]])
        tables /= np.maximum(tables.sum(axis=2, keepdims=True), _LEAST)
        logs = np.log(np.maximum(prior, _LEAST)) * np.ones((items, 1))
        np.add.at(logs, item, np.log(np.maximum(tables[reviewer, :, said], _LEAST)))
        truth = np.exp(logs - logs.max(axis=1, keepdims=True))
        truth /= truth.sum(axis=1, keepdims=True)
        _fix(truth, known)
    return Noise(truth, tables, prior)


def _fix(truth: Floats, gold: Mapping[int, int]) -> None:
    for item, label in gold.items():
        truth[item] = 0.0
        truth[item, label] = 1.0


def votes_of(
    verdicts: Iterable[VerdictMessage], names: Sequence[str]
) -> tuple[list[Vote], dict[int, str]]:
    """Return the verdicts about records that were looked at at least twice, or are gold.

    Returns:
        The votes, and record -> id. Verdicts with several labels, or none, are left out, and those
        about appeals, which are made where a decision was wrong.
    """
    by_record: dict[tuple[str | None, str], list[VerdictMessage]] = {}
    for verdict in verdicts:
        if verdict.purpose == "appeal":
            continue
        if verdict.labels is not None and len(verdict.labels) == 1 and verdict.labels[0] in names:
            by_record.setdefault((verdict.task, verdict.id), []).append(verdict)
    reviewers: dict[str, int] = {}
    votes: list[Vote] = []
    ids: dict[int, str] = {}
    for (_, name), found in by_record.items():
        if len(found) < 2 and all(verdict.purpose != "gold" for verdict in found):
            continue
        item = len(ids)
        ids[item] = name
        for verdict in found:
            number = reviewers.setdefault(verdict.reviewer, len(reviewers))
            votes.append(Vote(item, number, names.index((verdict.labels or [""])[0])))
    return votes, ids


def gold_errors(verdicts: Iterable[VerdictMessage], gold: Mapping[str, str]) -> tuple[int, int]:
    """Return the number of wrong verdicts about records with a known answer, and of all such.

    Args:
        verdicts: any; those of other records are left out.
        gold: record id -> its label.
    """
    judged = [
        verdict.labels != [gold[verdict.id]]
        for verdict in verdicts
        if verdict.purpose == "gold" and verdict.labels is not None and verdict.id in gold
    ]
    return sum(judged), len(judged)


def corrected_error(observed: float, *, noise: float) -> float:
    """Return the error rate of the model behind an observed one.

    Args:
        observed: share of records where reviewer and model differ.
        noise: share of wrong verdicts. A reviewer's error makes a correct label look wrong, and a
            wrong one look correct only if it names just that label: that is neglected, which makes
            the result larger, not smaller.
    """
    return min(1.0, max(0.0, (observed - noise) / (1 - noise))) if noise < 1 else 1.0


def raised_target(target: float, *, wrong: int, judged: int, confidence: float) -> float:
    """Return the share of differences that an error rate at the target is seen as, at the least.

    If reviewers and model differ less often, the error rate is below the target: a test against it
    holds with the confidence of the test and that of this bound together, if reviewers are wrong
    about audited records as often as about those with a known answer. On easier ones they are wrong
    less often, and the result is too high.

    Args:
        target: error rate of the model.
        wrong: wrong verdicts about records with a known answer.
        judged: all verdicts about such records; with few, the result is the target itself.
        confidence: probability that the bounds of the reviewers' error rate hold.
    """
    if not judged:
        return target
    each = 1 - (1 - confidence) / 2
    low = lower_bound(wrong, judged, confidence=each)
    high = upper_bound(wrong, judged, confidence=each)
    # An error of the model is seen unless the reviewer makes the same one.
    return max(target, target * (1 - high) + (1 - target) * low)
