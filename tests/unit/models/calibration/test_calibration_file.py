"""A calibration is applied to the model it was fitted on, unchanged, or not at all."""

from dataclasses import replace
from pathlib import Path

import pytest

from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration import Calibration
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.thresholds import NEVER
from streamlabel.models.core.classifier import ModelIdentity
from streamlabel.models.core.labels import LabelSet

LABELS = LabelSet(("no", "yes: sure"))
INFO = ModelIdentity("m", "encoder", "cuda:0", "float32", "d" * 64)

TREE = {
    "model": {
        "name": "m",
        "backend": "encoder",
        "digest": "d" * 64,
        "device": "cuda:0",
        "dtype": "float32",
        "labels": list(LABELS.names),
        "problem_type": "single_label",
    },
    "mapping": {
        "method": "temperature and bias",
        "temperature": 1.7182818284590453,
        "bias": {"no": 0.1, "yes: sure": -0.1},
    },
    "thresholds": {
        "chosen_by": "promise",
        "by_label": {"no": 0.91, "yes: sure": None},
        "target_error": 0.01,
        "bound": 0.01,
        "confidence": 0.95,
        "summary": "review 12.4 % of traffic",
    },
    "prediction_sets": {"miss_rate": 0.05, "reviewed": 3, "limits": {"no": 0.9, "yes: sure": 1.0}},
    "reference": {
        "items": 3,
        "labels": {"no": 2, "yes: sure": 1},
        "confidence_quantiles": [0.5, 1.0],
        "length_quantiles": [1, 20],
    },
    "evidence": {
        "made_on": "2026-11-22",
        "items": 3,
        "by_label": {"no": 2, "yes: sure": 1},
        "log_loss_before": 0.3,
        "log_loss_after": 0.2,
    },
}


RULES = {
    "margin": 0.0,
    "max_off_label_mass": 0.5,
    "max_unknown_share": 1.0,
    "review_truncated": False,
    "review_unreadable": True,
}


def made(**changes: object) -> CalibrationFile:
    return CalibrationFile.model_validate(TREE | changes).with_id()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "calibration.yaml"
    made().write(path)
    return path


def test_what_is_written_is_read_back_to_the_last_digit(path: Path) -> None:
    found = CalibrationFile.read(path)
    assert found == made()
    assert found.calibration == Calibration("single_label", 1.7182818284590453, bias=(0.1, -0.1))
    assert found.limits == {"no": 0.91, "yes: sure": NEVER}
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_id_changes_with_anything_and_the_threshold_id_with_thresholds_only() -> None:
    other = made(mapping=TREE["mapping"] | {"temperature": 2.0})  # type: ignore[operator]  # a mapping
    assert other.id != made().id
    assert other.threshold_set_id == made().threshold_set_id
    assert made(thresholds=None).threshold_set_id is None


def test_a_file_that_was_changed_by_hand_is_refused(path: Path) -> None:
    path.write_text(path.read_text().replace("0.91", "0.51"))
    with pytest.raises(
        ConfigError, match=r"changed by hand; set thresholds in routing\.thresholds"
    ):
        CalibrationFile.read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model: {}", "is no|model.name"),
        ("schema: streamlabel.calibration/v9", "schema"),
        ("", "model"),
    ],
)
def test_another_file_is_refused_by_what_is_wrong(
    tmp_path: Path, change: str, message: str
) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(change)
    with pytest.raises(ConfigError, match=message):
        CalibrationFile.read(path)


def test_a_value_for_a_label_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="every label needs a value: no, yes: sure"):
        made(prediction_sets={"miss_rate": 0.05, "reviewed": 3, "limits": {"no": 1.0}})


@pytest.mark.parametrize(
    ("labels", "identity", "message"),
    [
        (LABELS, replace(INFO, digest="e" * 64), "digest dddddddddddd, not eeeeeeeeeeee"),
        (LABELS, replace(INFO, prompt_version="p2"), r"prompt \(version none, not p2\)"),
        (LabelSet(("yes: sure", "no")), INFO, "labels"),
        (LabelSet(LABELS.names, "multi_label"), INFO, "multi_label"),
    ],
)
def test_another_model_is_refused_by_what_differs(
    labels: LabelSet, identity: ModelIdentity, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        made().check(labels, identity, path=Path("c.yaml"))


def test_another_device_is_a_warning() -> None:
    path = Path("c.yaml")
    file = made(settings={"predictions": {}, "review": RULES})
    assert file.check(LABELS, replace(INFO, device="cuda:1"), path=path) == []
    [warning] = file.check(LABELS, replace(INFO, device="cpu"), path=path)
    assert "device cuda, the model runs on cpu" in warning


TAGS = LabelSet(("rude", "threat"), "multi_label")
OF_TAGS = {
    "model": TREE["model"] | {"labels": list(TAGS.names), "problem_type": "multi_label"},  # type: ignore[operator]  # a mapping
    "mapping": {"method": "identity"},
    "prediction_sets": None,
    "reference": None,
    "thresholds": {
        "chosen_by": "promise",
        "by_label": {"rude": 0.8, "threat": None},
        "bound": 0.02,
        "confidence": 0.95,
        "summary": "s",
    },
    "answers": {
        "absent": {"rude": 0.9, "threat": 0.97},
        "guarantees": {"threat": {"target_error": 0.02, "accepted": 300, "wrong": 1}},
        "stricter": [
            {
                "by_label": {"rude": 0.9, "threat": None},
                "absent": {"rude": 0.95, "threat": 0.99},
            }
        ],
    },
}


def test_both_answers_of_a_multi_label_task_are_read_back(tmp_path: Path) -> None:
    made(**OF_TAGS).write(tmp_path / "c.yaml")
    found = CalibrationFile.read(tmp_path / "c.yaml")
    assert found == made(**OF_TAGS)
    assert found.limits == {"rude": 0.8, "threat": NEVER}
    assert found.absent_limits == {"rude": 0.9, "threat": 0.97}
    assert made().absent_limits == {}
    other = made(**OF_TAGS | {"answers": {"absent": {"rude": 0.9, "threat": 0.98}}})
    assert other.threshold_set_id != found.threshold_set_id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answers": OF_TAGS["answers"]}, "every label needs a value: no, yes: sure"),
        ({"answers": {"absent": {"no": 0.9, "yes: sure": 0.9}}}, "in a multi_label task"),
        (OF_TAGS | {"thresholds": None}, "only beside thresholds"),
        (OF_TAGS | {"answers": {"absent": {"rude": 0.9}}}, "every label needs a value"),
        (
            OF_TAGS
            | {
                "answers": {
                    "absent": {"rude": 0.9, "threat": 0.9},
                    "guarantees": {"egg": {"target_error": 0.1, "accepted": 1, "wrong": 0}},
                }
            },
            "egg: not a label of the model",
        ),
    ],
)
def test_answers_belong_to_all_labels_of_a_multi_label_task(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        made(**changes)


@pytest.mark.parametrize(
    ("file", "labels"),
    [
        (made(), LabelSet(LABELS.names, "multi_label")),
        (made(**OF_TAGS), LabelSet(TAGS.names)),
    ],
)
def test_a_calibration_of_the_other_kind_of_task_is_refused(
    file: CalibrationFile, labels: LabelSet
) -> None:
    with pytest.raises(ConfigError, match=r"another model: labels \((multi|single)_label .*, not"):
        file.check(labels, INFO, path=Path("c.yaml"))
