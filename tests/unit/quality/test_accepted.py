"""Item 8: what thresholds accept, and whether a guarantee held, on texts that are new to it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.labels import LabelSet
from streamlabel.quality.accepted import Accepted, judge_accepted
from streamlabel.quality.evaluation import Scored, evaluate
from streamlabel.quality.label_lines import accepted_line
from streamlabel.quality.labelled import LabelledText

LABELS = LabelSet(("ham", "spam"))


def promise(target: float = 0.05) -> CalibrationFile:
    """A calibration with a target error, and a limit for missed spam."""
    tree = {
        "model": {
            "name": "m",
            "backend": "fake",
            "digest": "d",
            "device": "cpu",
            "dtype": "none",
            "labels": list(LABELS.names),
            "problem_type": "single_label",
        },
        "mapping": {"method": "identity"},
        "thresholds": {
            "chosen_by": "promise",
            "by_label": {"ham": 0.6, "spam": 0.6},
            "target_error": target,
            "bound": target,
            "confidence": 0.95,
            "summary": "s",
        },
        "missed": {
            "spam": {"target": 0.05, "confidence": 0.95, "floor": 0.5, "texts": 90, "missed": 0}
        },
        "evidence": {
            "made_on": "2026-11-29",
            "items": 3,
            "by_label": {"ham": 3},
            "log_loss_before": 0.3,
            "log_loss_after": 0.3,
        },
    }
    return CalibrationFile.model_validate(tree)


def judged(wrong: int, items: int, *, copies: int = 1, reviewed: int = 0) -> Accepted:
    """Texts that are all spam; ``wrong`` of the accepted ones are called ham."""
    spam = np.ones(items + reviewed)
    spam[:wrong] = 0.0
    shown = np.column_stack([1 - spam, spam]).repeat(copies, axis=0)
    truth = np.tile([False, True], (len(shown), 1))
    texts = [
        LabelledText(line, f"text number {line // copies}", ("spam",)) for line in range(len(shown))
    ]
    accepted = np.arange(len(shown)) < items * copies
    return judge_accepted(
        Scored(LABELS, shown, truth),
        texts,
        accepted,
        truncated=np.zeros(len(shown), dtype=bool),
        lost=0,
        calibration=promise(),
    )


@pytest.mark.parametrize(
    ("wrong", "items", "result"),
    [
        (0, 58, "not decided"),
        (0, 59, "held"),
        (1, 93, "held"),
        (5, 100, "not decided"),
        (9, 100, "not decided"),
        (10, 100, "broken"),
        (0, 0, "not decided"),
    ],
)
def test_item_8_a_guarantee_held_was_broken_or_cannot_be_decided(
    wrong: int, items: int, result: str
) -> None:
    found = judged(wrong, items, reviewed=3)
    error = found.guarantees[0]
    assert (error.part, error.whole, error.result) == (wrong, items, result)
    assert f"error of accepted labels <= 5.0 %: {wrong} of {items}" in str(error)
    missed = found.guarantees[1]
    assert (missed.part, missed.whole) == (wrong, items + 3)


def test_item_8_copies_decide_nothing() -> None:
    once, copied = judged(0, 30), judged(0, 30, copies=10)
    assert once.guarantees == copied.guarantees
    assert copied.accepted == 10 * once.accepted
    assert "accepted 100.0 % (" in accepted_line(once)


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    values=st.lists(st.sampled_from(["en", "zh", ""]), min_size=30, max_size=30),
    data=st.data(),
)
def test_item_8_every_text_is_in_one_slice_of_each_field(
    lengths: list[int], values: list[str], data: st.DataObject
) -> None:
    items = len(lengths)
    texts = [
        LabelledText(i, "x" * n, ("ham",), fields=(("lang", values[i]),))
        for i, n in enumerate(lengths)
    ]
    flags = st.lists(st.booleans(), min_size=items, max_size=items)
    accepted, right, cut = (np.array(data.draw(flags), dtype=bool) for _ in range(3))
    shown = np.column_stack([right, ~right]).astype(float)
    found = judge_accepted(
        Scored(LABELS, shown, np.tile([True, False], (items, 1))),
        texts,
        accepted,
        truncated=cut,
        lost=0,
        calibration=None,
    )
    for field in {each.field for each in found.slices}:
        rows = [each for each in found.slices if each.field == field]
        assert sum(row.texts for row in rows) == items
        assert sum(row.accepted for row in rows) == found.accepted == accepted.sum()
        assert sum(row.wrong for row in rows) == found.wrong
        assert sum(row.right for row in rows) == right.sum()
    assert {"length", "lang"} <= {each.field for each in found.slices}
    assert found.guarantees == ()


@pytest.mark.parametrize("texts", [5, 50])
def test_item_8_the_interval_of_f1_is_never_empty(texts: int) -> None:
    truth = np.eye(2, dtype=bool)[[0, 1] * texts]
    found = evaluate(Scored(LABELS, truth.astype(float), truth))  # everything is right
    for estimate in (*(label.f1 for label in found.by_label), found.macro_f1):
        assert estimate.value == estimate.high == 1.0
        assert estimate.low < 1 - 0.3 / texts
    assert found.by_label[0].f1.low > (0.7 if texts == 5 else 0.95)


def test_item_8_intervals_of_f1_hold_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    # truth and decision agree in 90 % of texts; the F1 of both labels is 0.9
    hits = 0
    for _ in range(60):
        truth = rng.random(40) < 0.5
        decided = np.where(rng.random(40) < 0.9, truth, ~truth)
        one_hot = np.eye(2, dtype=bool)
        found = evaluate(
            Scored(LABELS, one_hot[decided.astype(int)].astype(float), one_hot[truth.astype(int)]),
            worst=0,
        )
        hits += found.by_label[1].f1.low <= 0.9 <= found.by_label[1].f1.high
    assert 0.88 <= hits / 60 <= 1
