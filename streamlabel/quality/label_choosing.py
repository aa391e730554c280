"""Chooses thresholds for both answers about each label of a multi-label task."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from streamlabel.errors import ConfigError
from streamlabel.models.calibration.binomial_bounds import labels_needed, upper_bound
from streamlabel.models.calibration.label_control import (
    alone,
    control_labels,
    path_places,
    report_labels,
)
from streamlabel.models.calibration.labels_missing import what_is_missing
from streamlabel.models.calibration.outcomes import MissedTarget
from streamlabel.models.calibration.risk_control import control_risk
from streamlabel.models.calibration.thresholds import (
    LEAST_THRESHOLD,
    AnswerLimits,
    Choices,
    Promise,
)

__all__ = ["floors_for", "prove_labels", "with_floors"]

# Limits of missed texts beside a target error: floors at which this part of the limit is expected
# to be missed, from strict to loose. Floors that followed from the true labels would choose the
# texts that the error is tested on by their errors; each of these has a share of the level instead.
_PARTS = (0.125, 0.25, 0.5, 1.0)
# Labels of which it is simulated how many more texts would do: each takes seconds.
_SIMULATED = 3


def prove_labels(
    choices: Choices,
    *,
    target: float,
    confidence: float,
    without: Sequence[str] = (),
    missed: Mapping[str, float] | None = None,
) -> tuple[Promise, list[MissedTarget]]:
    """Return the loosest thresholds that are proven to hold the target for every label.

    Args:
        choices: labelled texts with probabilities.
        target: largest share of accepted texts with a wrong answer about a label, in (0, 1).
        confidence: that it holds for all labels together, in (0, 1).
        without: labels that have no target: their answers are accepted as they are.
        missed: label -> largest share of its texts that may be accepted without it; each holds
            with ``confidence``.

    Returns:
        The thresholds, and the evidence for each limit of missed texts.

    Raises:
        ConfigError: no thresholds hold all of them; the message says which labels are the reason.
    """
    promised = [i for i, name in enumerate(choices.names) if name not in without]
    if not promised:
        raise ConfigError("--no-target: names every label, so that nothing is guaranteed")
    if not missed:
        found = control_labels(choices, target=target, confidence=confidence, promised=promised)
        if found is None:
            raise ConfigError(_why_not(choices, promised, target=target, confidence=confidence))
        return found, []
    level = 1 - (1 - confidence) / len(_PARTS)
    best: tuple[Promise, list[MissedTarget]] | None = None
    for part in _PARTS:
        floors = _expected_floors(choices, missed, part)
        proven = [
            _missed_at(choices, name, share, floors[choices.names.index(name)], confidence)
            for name, share in missed.items()
        ]
        if any(_bound(each) > each.target for each in proven):
            break
        found = control_labels(
            choices, target=target, confidence=level, promised=promised, floors=floors
        )
        if found is not None:
            best = found, proven
    if best is None:
        raise ConfigError(
            "with these limits of --missed no thresholds hold the target error, too: allow more"
            " missed texts, label more texts, or ask for less"
        )
    return best


def with_floors(choices: Choices, missed: Sequence[MissedTarget], confidence: float) -> Promise:
    """Return thresholds under which few texts of some labels are missed; errors are measured."""
    floors = {each.label: each.floor for each in missed}
    least = (LEAST_THRESHOLD,) * len(choices.names)
    absent = tuple(max(floors.get(name, 0.0), LEAST_THRESHOLD) for name in choices.names)
    return report_labels(choices, AnswerLimits(least, absent), confidence)


def floors_for(choices: Choices, label: int) -> NDArray[np.float64]:
    """Return the confidences (N,) that floors of a label are about: that it is absent."""
    if choices.probabilities is None:
        return choices.confidence
    return np.asarray(1 - choices.probabilities[:, label])


def _expected_floors(choices: Choices, missed: Mapping[str, float], part: float) -> list[float]:
    """Return thresholds of absence (K,) at which so many missed texts are expected."""
    floors = [0.0] * len(choices.names)
    shown = choices.probabilities
    if shown is None:
        raise ValueError("labels need probabilities. This is a bug.")
    for name, share in missed.items():
        label = choices.names.index(name)
        would_miss = np.sort(shown[choices.is_open & (shown[:, label] < 0.5), label])
        allowed = share * part * float(shown[:, label].sum())
        taken = int(np.searchsorted(np.cumsum(would_miss), allowed, side="right"))
        # the least sure one that is still taken; none: more than any confidence
        floors[label] = float(1 - would_miss[taken - 1]) if taken else 1.0
    return floors


def _missed_at(
    choices: Choices, name: str, share: float, floor: float, confidence: float
) -> MissedTarget:
    label = choices.names.index(name)
    if choices.truth is None or choices.probabilities is None:
        raise ValueError("missed labels need probabilities and truth. This is a bug.")
    truth, shown = choices.truth[:, label], choices.probabilities[:, label]
    missed = truth & choices.is_open & (shown < 0.5) & (1 - shown >= floor)
    return MissedTarget(name, share, confidence, floor, int(truth.sum()), int(missed.sum()))


def _bound(found: MissedTarget) -> float:
    return upper_bound(found.missed, found.texts, confidence=found.confidence)


def _why_not(choices: Choices, promised: Sequence[int], *, target: float, confidence: float) -> str:
    """Say which labels are the reason that nothing is proven, and what would help."""
    level = 1 - (1 - confidence) / len(promised)
    places = path_places(choices, promised)
    tested = [alone(choices, label, places) for label in promised]
    broken = [
        each for each in tested if not control_risk(each, target=target, confidence=level).is_kept
    ]
    least = labels_needed(target, confidence=level)
    if len(broken) == len(tested) and len(places) < least:
        return what_is_missing(tested[0], target=target, confidence=level)
    blamed = broken or tested
    lines = [
        f"{each.names[0]}: {what_is_missing(each, target=target, confidence=level)}"
        for each in blamed[:_SIMULATED]
    ]
    if len(blamed) > _SIMULATED:
        lines.append(f"likewise {', '.join(each.names[0] for each in blamed[_SIMULATED:])}")
    return (
        "no target error can be guaranteed for every label, so every text would go to review."
        f" {'; '.join(lines)}. Or leave out a label with --no-target LABEL: its answers are then"
        " accepted without a guarantee"
    )
