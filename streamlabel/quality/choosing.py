"""Chooses thresholds by a target error, a review budget or costs, on labelled texts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from streamlabel.consumer.routing.router import RoutingPolicy
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration_sections import Thresholds
from streamlabel.models.calibration.risk_control import control_risk, what_is_missing
from streamlabel.models.calibration.thresholds import NEVER, Choices, Promise, allow, weigh_costs
from streamlabel.models.core.labels import LabelSet
from streamlabel.quality.evaluation import Scored
from streamlabel.quality.scoring import Answers

__all__ = ["Costs", "Wish", "choices_of", "choose_thresholds", "thresholds_section"]


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
    """

    target_error: float | None = None
    confidence: float = 0.95
    max_review: float | None = None
    costs: Costs | None = None


def choose_thresholds(choices: Choices, wish: Wish) -> Promise | None:
    """Return the thresholds that meet the criteria.

    Raises:
        ConfigError: there are too few labels for the target error, or it needs more review than
            allowed.
    """
    confidence = wish.confidence
    if wish.costs is not None:
        return weigh_costs(
            choices, review=wish.costs.review, errors=wish.costs.errors, confidence=confidence
        )
    if wish.target_error is not None:
        promise = control_risk(choices, target=wish.target_error, confidence=confidence)
        if not promise.is_kept:
            raise ConfigError(
                what_is_missing(choices, target=wish.target_error, confidence=confidence)
            )
        if wish.max_review is not None and promise.review_share > wish.max_review:
            raise ConfigError(
                f"{promise}: more review than {wish.max_review:.1%}. With that limit alone:"
                f" {_allowed(choices, wish.max_review, confidence)}"
            )
        return promise
    if wish.max_review is not None:
        return _allowed(choices, wish.max_review, confidence)
    return None


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
    )


def _allowed(choices: Choices, max_review: float, confidence: float) -> Promise:
    try:
        return allow(choices, max_review=max_review, confidence=confidence)
    except ValueError as error:
        raise ConfigError(f"--max-review: {error}") from error


def thresholds_section(promise: Promise, wish: Wish, labels: LabelSet) -> Thresholds:
    """Return the section of the calibration file."""
    chosen_by: Literal["promise", "budget", "costs"] = "budget"
    if wish.costs is not None:
        chosen_by = "costs"
    elif wish.target_error is not None:
        chosen_by = "promise"
    named = zip(labels.names, promise.thresholds, strict=True)
    return Thresholds(
        chosen_by=chosen_by,
        by_label={name: None if t == NEVER else t for name, t in named},
        target_error=promise.target,
        bound=promise.bound,
        confidence=promise.confidence,
        summary=str(promise),
        pooled=[list(group.labels) for group in promise.groups if len(group.labels) > 1],
    )
