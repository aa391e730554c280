"""Item 5: how many labels would do is said with a chance that turns out so, or not at all."""

import re

import numpy as np
import pytest

from streamlabel.models.calibration.labels_missing import chance_with, what_is_missing
from streamlabel.models.calibration.risk_control import control_risk
from streamlabel.models.calibration.thresholds import Choices

TARGET = 0.02


def drawn(rng: np.random.Generator, items: int, *, noise: float) -> Choices:
    """Texts of a model that is right about its confidence, but for noisy labels."""
    confidence = 1 - 0.6 * rng.beta(0.5, 8.0, size=items)
    is_wrong = rng.random(items) < np.minimum(1, noise + 1 - confidence)
    return Choices(
        np.zeros(items, dtype=np.int64), confidence, is_wrong, np.ones(items, dtype=bool), ("a",)
    )


def is_proven(choices: Choices) -> bool:
    return control_risk(choices, target=TARGET).is_kept


def test_item_5_what_is_said_to_do_does_as_often_as_said() -> None:
    rng = np.random.default_rng(0)
    claimed: list[float] = []
    happened: list[float] = []
    while len(claimed) < 8:
        sample = drawn(rng, 250, noise=0.0)
        if is_proven(sample):
            continue
        said = what_is_missing(sample, target=TARGET, confidence=0.95)
        found = re.search(r"About ([\d,]+) more would do with a chance of (\d+) %", said)
        if found is None:
            assert "it cannot be said" in said.lower()
            continue
        labels = 250 + int(found[1].replace(",", ""))
        claimed.append(int(found[2]) / 100)
        happened.append(
            float(np.mean([is_proven(drawn(rng, labels, noise=0.0)) for _ in range(8)]))
        )
    assert min(claimed) >= 0.8
    assert np.mean(happened) >= np.mean(claimed) - 0.05


def test_item_5_a_model_that_is_wrong_where_it_is_confident_gets_no_number() -> None:
    sample = drawn(np.random.default_rng(1), 500, noise=0.05)
    said = what_is_missing(sample, target=TARGET, confidence=0.95)
    assert "takes 149 accepted texts without an error, or 236 with one; there are 500" in said
    assert "It cannot be said how many more would do" in said
    assert "the chance with 10,000 in all is 0 %" in said
    assert "improve the model" in said.lower()


def test_item_5_few_texts_without_an_error_are_no_certainty() -> None:
    items = 100
    none_wrong = Choices(
        np.zeros(items, dtype=np.int64),
        np.linspace(0.99, 0.9, items),
        np.zeros(items, dtype=bool),
        np.ones(items, dtype=bool),
        ("a",),
    )
    chances = [
        chance_with(none_wrong, labels, target=TARGET, confidence=0.95).chance
        for labels in (140, 200, 2000)
    ]
    assert chances[0] == 0.0  # 149 are needed, whatever they are
    assert 0.1 < chances[1] < 0.9
    assert chances[2] > chances[1]


@pytest.mark.parametrize("closed", [0, 100])
def test_item_5_texts_that_are_reviewed_anyway_do_not_help(closed: int) -> None:
    sample = drawn(np.random.default_rng(2), 200, noise=0.0)
    open_ = np.arange(200) >= closed
    limited = Choices(sample.label, sample.confidence, sample.is_wrong, open_, ("a",))
    chance = chance_with(limited, 1000, target=TARGET, confidence=0.95).chance
    assert chance <= chance_with(sample, 1000, target=TARGET, confidence=0.95).chance
