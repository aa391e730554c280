"""Risk control for multi-label tasks: thresholds for both answers about each label. Pure.

A text is accepted if every answer about it is sure: a yes at its threshold, a no at its own one.
The thresholds of all labels are one step of a path that the confidences alone determine: at each
step both answers about every label have the same expected error rate, which grows from step to
step, so that a label that the model knows well is hardly ever unsure where another one often is.
Each step is tested for every label, from strict to loose, with exact binomial tests on the texts
that it accepts, and passes if it passes for all labels.

Source: Learn then Test, Angelopoulos et al. 2021: fixed sequences of tests along a path through
several thresholds; the labels share the level equally (Bonferroni).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.calibration.risk_control import prove
from streamlabel.models.calibration.thresholds import (
    LEAST_THRESHOLD,
    NEVER,
    AnswerLimits,
    Choices,
    LabelEvidence,
    Promise,
    report,
)

__all__ = ["alone", "control_labels", "path_places", "report_labels"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Below every place on the path: such a text is accepted by no step.
_NEVER_ACCEPTED = -1.0


def control_labels(
    choices: Choices,
    *,
    target: float,
    confidence: float,
    promised: Sequence[int] | None = None,
    floors: Sequence[float] | None = None,
) -> Promise | None:
    """Return the loosest thresholds that hold the target for every label; None: there are none.

    For each label the share of wrong answers among all accepted texts is at most ``target``; with
    the probability ``confidence`` this holds for all labels together.

    Args:
        choices: labelled texts, drawn like the traffic, with probabilities and truth.
        target: largest share of wrong answers about a label, in (0, 1).
        confidence: probability that all targets hold, in (0, 1).
        promised: indexes of the labels that are to hold it, at least one; the answers about the
            others are taken as they are, from their floors on. None: all labels.
        floors: shape (K,): lower limits of the thresholds for absent; they must not depend on the
            true labels. None: there are none.
    """
    probabilities, truth = _known(choices)
    which = list(range(len(choices.names)) if promised is None else promised)
    places = path_places(choices, which, floors)
    inside = places > _NEVER_ACCEPTED
    order = np.flatnonzero(inside)[np.argsort(-places[inside], kind="stable")]
    wrong = ((probabilities >= 0.5) != truth)[:, which]
    found = prove(
        places[order], wrong[order], target=target, alpha=(1 - confidence) / len(which), floor=0.0
    )
    if found is None:
        return None
    steps = [_limits_at(choices, which, floors, at) for at in (found.threshold, *found.stricter)]
    promise = report_labels(choices, steps[0], confidence)
    accepted = _accepted(choices, steps[0])
    return replace(
        promise,
        bound=target,
        by_label=tuple(
            LabelEvidence(choices.names[k], promise.accepted, int(wrong[accepted, place].sum()))
            for place, k in enumerate(which)
        ),
        steps=tuple(steps[1:]),
    )


def report_labels(choices: Choices, limits: AnswerLimits, confidence: float) -> Promise:
    """Return the results of thresholds for both answers that nothing is proven about."""
    accepted = replace(choices, is_open=_accepted(choices, limits))
    found = report(accepted, [LEAST_THRESHOLD] * len(choices.names), confidence)
    return replace(found, thresholds=limits.present, absent=limits.absent)


def _accepted(choices: Choices, limits: AnswerLimits) -> Bools:
    probabilities, _ = _known(choices)
    return np.asarray(choices.is_open & limits.sure(probabilities).all(axis=1))


def alone(choices: Choices, label: int, places: Floats) -> Choices:
    """Return the texts as they are tested for one label: one threshold along the path.

    Args:
        choices: as for ``control_labels``.
        label: its index.
        places: shape (N,), as ``path_places`` returns them.
    """
    probabilities, truth = _known(choices)
    return Choices(
        label=np.zeros(len(places), dtype=np.int64),
        confidence=np.maximum(places, 0.0),
        is_wrong=(probabilities[:, label] >= 0.5) != truth[:, label],
        is_open=choices.is_open & (places > _NEVER_ACCEPTED),
        names=(choices.names[label],),
        judged_whole=True,
    )


def path_places(
    choices: Choices, labels: Sequence[int], floors: Sequence[float] | None = None
) -> Floats:
    """Return where on the path a text is accepted first, (N,): 1 is the strictest step.

    Args:
        choices: labelled texts; only their probabilities are used.
        labels: indexes of the labels whose answers must be sure.
        floors: as for ``control_labels``.

    Returns:
        1 - the expected error rate of the least certain answer's side, in [0, 1]; -1: never.
    """
    probabilities, _ = _known(choices)
    found = np.where(choices.is_open, 1.0, _NEVER_ACCEPTED)
    for label, floor in enumerate(floors or [0.0] * len(choices.names)):
        shown = probabilities[:, label]
        found[(shown < 0.5) & (1 - shown < floor)] = _NEVER_ACCEPTED
        if label in labels:
            np.minimum(found, _places_of(choices, shown, floor), out=found)
    return found


def _places_of(choices: Choices, probabilities: Floats, floor: float) -> Floats:
    """Return the places (N,) of the texts by the answers about one label alone."""
    yes = probabilities >= 0.5
    sureness = np.where(yes, probabilities, 1 - probabilities)
    found = np.full(len(yes), _NEVER_ACCEPTED)
    for side in (yes, ~yes):
        rows = np.flatnonzero(side & choices.is_open & (yes | (sureness >= floor)))
        ranked = np.sort(sureness[rows])[::-1]
        # what accepting all texts that are at least as sure would cost, (rows,)
        expected = np.cumsum(1 - ranked) / np.arange(1, len(ranked) + 1)
        # equal ones are accepted together
        ends = np.searchsorted(-ranked, -sureness[rows], side="right")
        found[rows] = 1 - expected[ends - 1] if len(rows) else found[rows]
    return found


def _limits_at(
    choices: Choices, labels: Sequence[int], floors: Sequence[float] | None, place: float
) -> AnswerLimits:
    """Return the thresholds of a step: those of the least sure answers that it still takes."""
    probabilities, _ = _known(choices)
    lowest = list(floors or [0.0] * len(choices.names))
    present = [LEAST_THRESHOLD] * len(lowest)
    absent = [max(LEAST_THRESHOLD, floor) for floor in lowest]
    for label in labels:
        shown = probabilities[:, label]
        taken = _places_of(choices, shown, lowest[label]) >= place
        yes = shown >= 0.5
        present[label] = _least(shown[taken & yes])
        absent[label] = _least(1 - shown[taken & ~yes])
    return AnswerLimits(tuple(present), tuple(absent))


def _least(sureness: Floats) -> float:
    return float(sureness.min()) if len(sureness) else NEVER


def _known(choices: Choices) -> tuple[Floats, Bools]:
    if choices.probabilities is None or choices.truth is None:
        raise ValueError("labels need probabilities and truth. This is a bug.")
    return choices.probabilities, choices.truth
