"""Chooses thresholds by a target error, a review budget or costs, on labelled texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from streamlabel.consumer.routing.router import RoutingPolicy
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.binomial_bounds import labels_needed
from streamlabel.models.calibration.labels_missing import what_is_missing
from streamlabel.models.calibration.outcomes import MissedTarget, missed_floor
from streamlabel.models.calibration.risk_control import control_risk
from streamlabel.models.calibration.thresholds import (
    LEAST_THRESHOLD,
    Choices,
    Promise,
    allow,
    report,
    weigh_costs,
)
from streamlabel.quality.evaluation import Scored
from streamlabel.quality.label_choosing import floors_for, prove_labels, with_floors
from streamlabel.quality.scoring import Answers

__all__ = [
    "Costs",
    "Wish",
    "choices_of",
    "choose_thresholds",
    "missed_targets",
]

_Kind = TypeVar("_Kind", np.bool_, np.float64)


@dataclass(frozen=True, slots=True)
class Costs:
    """The costs of a review and of an error, in the same unit."""

    review: float
    errors: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Wish:
    """The criteria for choosing thresholds; without any, none are chosen.

    Attributes:
        target_error: maximum error rate of accepted labels.
        confidence: of the target error and of bounds.
        max_review: maximum fraction of texts for review.
        costs: see ``Costs``.
        missed: label -> maximum share of its texts that is accepted without it.
        without: multi_label: labels without a target error.
    """

    target_error: float | None = None
    confidence: float = 0.95
    max_review: float | None = None
    costs: Costs | None = None
    missed: Mapping[str, float] = field(default_factory=dict)
    without: tuple[str, ...] = ()


def choose_thresholds(choices: Choices, wish: Wish) -> tuple[Promise | None, list[MissedTarget]]:
    """Return the thresholds that meet the criteria, and the evidence for limits of missed texts.

    In a multi-label task the target error is that of the answers about each label.

    Raises:
        ConfigError: there are too few labels for the target error, or for a limit of missed texts,
            or they need more review than allowed.
    """
    if wish.costs is not None:
        review, errors = wish.costs.review, wish.costs.errors
        return weigh_costs(choices, review=review, errors=errors, confidence=wish.confidence), []
    if wish.target_error is not None and choices.probabilities is not None:
        return _proven_by_label(choices, wish, wish.target_error)
    missed = missed_targets(choices, wish)
    return _chosen(choices, wish, missed), missed


def _proven_by_label(
    choices: Choices, wish: Wish, target: float
) -> tuple[Promise, list[MissedTarget]]:
    promise, missed = prove_labels(
        choices, target=target, confidence=wish.confidence, without=wish.without, missed=wish.missed
    )
    _refuse_too_much_review(promise, choices, wish)
    return promise, missed


def _chosen(choices: Choices, wish: Wish, missed: Sequence[MissedTarget]) -> Promise | None:
    floors = _floors(choices, missed)
    if wish.target_error is not None:
        return _proven(choices, wish, wish.target_error, floors)
    if wish.max_review is not None:
        return _allowed(choices, wish.max_review, wish.confidence)
    if not wish.missed:
        return None
    if choices.probabilities is not None:  # the error of accepted labels is measured only
        return with_floors(choices, missed, wish.confidence)
    least = [max(floor, LEAST_THRESHOLD) for floor in floors]
    return report(choices, least, wish.confidence)


def _proven(choices: Choices, wish: Wish, target: float, floors: Sequence[float]) -> Promise:
    confidence = wish.confidence
    promise = control_risk(choices, target=target, confidence=confidence, floors=floors)
    if not promise.is_kept and any(floors):
        raise ConfigError(
            "with these limits of --missed no threshold holds the target error, too: allow more"
            " missed texts, label more texts, or ask for less"
        )
    if not promise.is_kept:
        raise ConfigError(what_is_missing(choices, target=target, confidence=confidence))
    _refuse_too_much_review(promise, choices, wish)
    return promise


def _refuse_too_much_review(promise: Promise, choices: Choices, wish: Wish) -> None:
    if wish.max_review is not None and promise.review_share > wish.max_review:
        raise ConfigError(
            f"{promise}: more review than {wish.max_review:.1%}. With that limit alone:"
            f" {_allowed(choices, wish.max_review, wish.confidence)}"
        )


def missed_targets(choices: Choices, wish: Wish) -> list[MissedTarget]:
    """Return the floors that each limit of missed texts needs.

    Raises:
        ConfigError: there are too few texts of a label to prove its limit.
    """
    found = []
    for label, target in wish.missed.items():
        if choices.decided is None or choices.truth is None:
            raise ValueError("missed labels need decisions and truth. This is a bug.")
        index = choices.names.index(label)
        truth = choices.truth[:, index]
        would_miss = truth & ~choices.decided[:, index] & choices.is_open
        limit = missed_floor(
            floors_for(choices, index),
            would_miss,
            label=label,
            texts=int(truth.sum()),
            target=target,
            level=wish.confidence,
        )
        if limit is None:
            needed = labels_needed(target, confidence=wish.confidence)
            raise ConfigError(
                f"--missed {label}={target:g}: takes {needed:,} labelled texts of {label}, of which"
                f" none is missed; there are {int(truth.sum()):,}. Label more, or allow more"
            )
        found.append(limit)
    return found


def _floors(choices: Choices, missed: Sequence[MissedTarget]) -> list[float]:
    """Return the lowest threshold of each label, (K,): a text is missed under another label."""
    return [
        max((m.floor for m in missed if choices.judged_whole or m.label != name), default=0.0)
        for name in choices.names
    ]


def choices_of(answers: Answers, scored: Scored, policy: RoutingPolicy) -> Choices:
    """Return the data for choosing thresholds: the predictions as routing sees them."""
    # Texts without a prediction are part of the traffic, and always go to review.
    lost = answers.unanswered + len(answers.failed)
    label = np.zeros(len(scored.truth), dtype=np.int64)
    if not scored.is_multi:
        label = scored.probabilities.argmax(axis=1)
    return Choices(
        label=np.append(label, np.zeros(lost, dtype=np.int64)),
        confidence=np.append(scored.confidence, np.zeros(lost)),
        is_wrong=np.append(~scored.is_right, np.ones(lost, dtype=bool)),
        is_open=np.append(answers.is_open(policy), np.zeros(lost, dtype=bool)),
        names=answers.labels.names,
        judged_whole=scored.is_multi,
        decided=_with_lost(scored.decided, lost),
        truth=_with_lost(scored.truth, lost),
        probabilities=_with_lost(scored.probabilities, lost) if scored.is_multi else None,
    )


def _with_lost(rows: NDArray[_Kind], lost: int) -> NDArray[_Kind]:
    return np.vstack([rows, np.zeros((lost, rows.shape[1]), dtype=rows.dtype)])


def _allowed(choices: Choices, max_review: float, confidence: float) -> Promise:
    try:
        return allow(choices, max_review=max_review, confidence=confidence)
    except ValueError as error:
        raise ConfigError(f"--max-review: {error}") from error
