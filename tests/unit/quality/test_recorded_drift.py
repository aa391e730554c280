"""Drift of recorded outputs: called where it is, with files that are no fair sample refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamlabel.config.settings import DriftSettings
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration_sections import Reference
from streamlabel.quality.recorded_drift import recorded_drift


def output(number: int, label: str | None, confidence: float, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 JSON
    spam = confidence if label == "spam" else 1 - confidence
    return {
        "id": f"r{number}",
        "label": label,
        "confidence": confidence,
        "probabilities": {"ham": 1 - spam, "spam": spam},
        "route": "label",
        "reasons": [],
        **changes,
    }


def outputs(items: int, *, spam: float, seed: int = 1) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(items) < spam, "spam", "ham")
    sure = 1 - 0.4 * rng.random(items) ** 3
    return [output(n, str(labels[n]), float(sure[n])) for n in range(items)]


REFERENCE = Reference(
    items=2000,
    labels={"ham": 1600, "spam": 400},
    confidence_quantiles=sorted((1 - 0.4 * np.linspace(0, 1, 101) ** 3).tolist()),
    length_quantiles=[1.0, 2.0],
)


def written(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "outputs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(("spam", "drifted"), [(0.2, False), (0.5, True)])
def test_a_change_of_the_labels_is_called_and_the_same_labels_are_not(
    tmp_path: Path, spam: float, *, drifted: bool
) -> None:
    found = recorded_drift(written(tmp_path, outputs(2000, spam=spam)), REFERENCE, DriftSettings())
    label, confidence = found.shifts
    assert (label.feature, label.has_drifted) == ("label", drifted)
    assert (confidence.feature, confidence.has_drifted) == ("confidence", False)
    then, now = found.shares["spam"]
    assert then == 0.2
    assert now == pytest.approx(spam, abs=0.04)


def test_copies_count_once_and_what_has_no_decision_is_counted(tmp_path: Path) -> None:
    rows = [*outputs(100, spam=0.2), output(0, "spam", 0.9), {"schema": "streamlabel.dead/v1"}]
    found = recorded_drift(written(tmp_path, rows), REFERENCE, DriftSettings())
    assert (found.texts, found.unread) == (100, 1)


def test_a_text_without_any_label_counts_under_the_most_probable_one(tmp_path: Path) -> None:
    none = output(1, None, 0.7, labels=[], probabilities={"ham": 0.1, "spam": 0.3})
    found = recorded_drift(written(tmp_path, [none]), REFERENCE, DriftSettings())
    assert found.shares["spam"][1] == 1.0


@pytest.mark.parametrize(
    ("rows", "why"),
    [([], "has no outputs"), ([output(1, "scam", 0.9)], "scam.*another model or task")],
)
def test_files_that_say_nothing_are_refused(
    tmp_path: Path, rows: list[dict[str, Any]], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        recorded_drift(written(tmp_path, rows), REFERENCE, DriftSettings())
