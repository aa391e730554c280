"""How many labels a target error takes: said with a chance, or not at all."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.calibration.binomial_bounds import labels_needed
from streamlabel.models.calibration.risk_control import control_risk
from streamlabel.models.calibration.thresholds import Choices

__all__ = ["Chance", "chance_with", "what_is_missing"]

# Numbers of labels that are tried, as multiples of those at hand.
_MULTIPLES = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
_MOST_TEXTS = 60_000
# A chance that is worth labelling for.
_ENOUGH = 0.8
_DRAWS = 60
# Errors that are added to each block, because none seen is not none. Of 0.06, 0.125 and 0.25, which
# were tried on simulated data, only the last one did not promise too much for a calibrated and for
# an overconfident model; where the labels are noisy, all do.
_UNSEEN = 0.25
# Texts of similar confidence share an unknown error rate.
_BLOCKS = 8


@dataclass(frozen=True, slots=True)
class Chance:
    """The probability that so many labels in all prove the target for any text.

    Attributes:
        labels: in all.
        chance: simulated, in [0, 1].
    """

    labels: int
    chance: float


def what_is_missing(choices: Choices, *, target: float, confidence: float, seed: int = 0) -> str:
    """Return a sentence: what the target takes, and with which chance more labels would do.

    Args:
        choices: with which no threshold was found.
        target: error rate of accepted labels, in (0, 1).
        confidence: of the target, in (0, 1).
        seed: of the simulation.
    """
    least, one_wrong = (
        labels_needed(target, confidence=confidence, errors=errors) for errors in (0, 1)
    )
    share = f"{target:.1%}".replace("%", " %")
    sure = f"{confidence:.0%}".replace("%", " %")
    what = (
        f"an accepted error <= {share} ({sure}) takes {least:,} accepted texts without an error, or"
        f" {one_wrong:,} with one; there are {len(choices.confidence):,} labels"
    )
    tried = []
    for multiple in _MULTIPLES:
        labels = round(multiple * len(choices.confidence))
        if labels > _MOST_TEXTS:
            break
        if labels < least:  # fewer texts cannot prove it, whatever they are
            continue
        chance = chance_with(choices, labels, target=target, confidence=confidence, seed=seed)
        tried.append(chance)
        if chance.chance >= _ENOUGH:
            more = labels - len(choices.confidence)
            return (
                f"{what}. About {more:,} more would do with a chance of {_percent(chance.chance)},"
                " simulated from these labels"
            )
    if not tried:
        return f"{what}. From so few it cannot be said how many more would do"
    last = tried[-1]
    return (
        f"{what}. It cannot be said how many more would do: simulated from these labels, the chance"
        f" with {last.labels:,} in all is {_percent(last.chance)}. Improve the model, or ask for"
        " less"
    )


def chance_with(
    choices: Choices, labels: int, *, target: float, confidence: float, seed: int = 0
) -> Chance:
    """Return the chance that so many labels in all prove the target for any text.

    Simulated: texts like those at hand are drawn again, and each is wrong with an error rate of
    texts of its confidence that the labels at hand allow. The rate is drawn each time, because the
    errors seen do not determine it.
    """
    rng = np.random.default_rng(seed)
    blocks = _blocks(choices)
    errors = np.bincount(blocks, weights=choices.is_wrong, minlength=_BLOCKS)
    items = np.bincount(blocks, minlength=_BLOCKS)
    kept = 0
    for _ in range(_DRAWS):
        rates = rng.beta(errors + _UNSEEN, items - errors + 0.5)
        rows = rng.integers(len(blocks), size=labels)
        sample = replace(
            choices,
            label=choices.label[rows],
            confidence=choices.confidence[rows] - rng.random(labels) * 1e-9,  # no ties by drawing
            is_wrong=rng.random(labels) < rates[blocks[rows]],
            is_open=choices.is_open[rows],
            decided=None,
            truth=None,
        )
        kept += control_risk(sample, target=target, confidence=confidence).is_kept
    return Chance(labels, kept / _DRAWS)


def _blocks(choices: Choices) -> NDArray[np.int64]:
    """Return for each text (N,) the block of texts of similar confidence; closed ones are last."""
    order = np.argsort(np.where(choices.is_open, -choices.confidence, 1.0), kind="stable")
    found = np.empty(len(order), dtype=np.int64)
    found[order] = np.arange(len(order)) * _BLOCKS // len(order)
    return found


def _percent(share: float) -> str:
    return f"{round(share, 2):.0%}".replace("%", " %")
