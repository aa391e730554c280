"""Other thresholds on recorded outputs of a multi-label task: what is known of each answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from streamlabel.quality.recorded import dry_run


def output(number: int, rude: float, threat: float, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 any JSON
    labels = [name for name, p in (("rude", rude), ("threat", threat)) if p >= 0.5]
    unsure = fields.get("unsure_labels")
    return {
        "id": str(number),
        "label": labels[0] if labels else None,
        "labels": labels,
        "confidence": 0.9,
        "probabilities": {"rude": rude, "threat": threat},
        "route": "review" if unsure else "label",
        "reasons": ["low_confidence"] if unsure else [],
        **fields,
    }


def review_after(folder: Path, rows: list[dict[str, Any]], **thresholds: float) -> float:
    path = folder / "out.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return dry_run(path, thresholds, {}).review_after


ROWS = [
    output(1, 0.6, 0.01, unsure_labels=["rude"]),
    output(2, 0.9, 0.30, unsure_labels=["threat"]),
    output(3, 0.6, 0.30, unsure_labels=["rude", "threat"]),
    output(4, 0.9, 0.01),
]


@pytest.mark.parametrize(
    ("thresholds", "share"),
    [
        ({"rude": 0.5}, 0.5),  # the two that are unsure about threat stay in review
        ({"threat": 0.5}, 0.5),
        ({"rude": 0.5, "threat": 0.5}, 0.0),
        ({"*": 0.5}, 0.0),
        ({"rude": 0.95}, 1.0),
        ({"threat": 0.995}, 1.0),
    ],
)
def test_a_label_without_a_new_threshold_stays_as_unsure_as_it_was(
    tmp_path: Path, thresholds: dict[str, float], share: float
) -> None:
    assert review_after(tmp_path, ROWS, **thresholds) == share


def test_an_output_that_does_not_name_unsure_labels_keeps_its_route(tmp_path: Path) -> None:
    before = [{**row, "unsure_labels": None} for row in ROWS]
    assert review_after(tmp_path, before, rude=0.5) == 0.75
    assert review_after(tmp_path, before, rude=0.5, threat=0.5) == 0.0
