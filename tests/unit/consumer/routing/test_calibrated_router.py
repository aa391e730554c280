"""A calibration changes what is published and what people see, and every output says which one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.config.settings import RoutingSettings, Settings
from streamlabel.consumer.routing.calibrated_router import policy_for, read_calibration
from streamlabel.consumer.routing.router import RoutingPolicy, routing_policy
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.core.labels import LabelSet
from tests.flow.rig import ScriptedClassifier

LABELS = LabelSet(("no", "yes", "maybe"))
CLASSIFIER = ScriptedClassifier(labels=LABELS)
# softmax of these: 0.843, 0.114, 0.042; at temperature 2: 0.629, 0.231, 0.140
SURE = Prediction((0.843795, 0.114195, 0.04201), log_scores=(3.0, 1.0, 0.0))


def calibration(**thresholds: float | None) -> CalibrationFile:
    tree = {
        "model": {
            "name": "scripted",
            "backend": "fake",
            "digest": CLASSIFIER.identity.digest,
            "device": "cpu",
            "dtype": "float32",
            "labels": list(LABELS.names),
            "problem_type": "single_label",
        },
        "mapping": {"method": "temperature", "temperature": 2.0},
        "prediction_sets": {
            "miss_rate": 0.05,
            "reviewed": 3,
            "limits": {"no": 0.5, "yes": 0.8, "maybe": 0.5},
        },
        "evidence": {
            "made_on": "2026-11-22",
            "items": 3,
            "by_label": {"no": 3},
            "log_loss_before": 0.3,
            "log_loss_after": 0.2,
        },
    }
    if thresholds:
        tree["thresholds"] = {
            "chosen_by": "promise",
            "by_label": thresholds,
            "bound": 0.01,
            "confidence": 0.95,
            "summary": "s",
        }
    return CalibrationFile.model_validate(tree).with_id()


PROVEN = calibration(no=0.6, yes=0.9, maybe=None)


def policy(file: CalibrationFile = PROVEN, **settings: object) -> RoutingPolicy:
    return routing_policy(LABELS, RoutingSettings.model_validate(settings), calibration=file)


def test_confidence_and_threshold_are_the_calibrated_ones() -> None:
    decision = policy().choose(SURE)
    assert decision.probabilities == pytest.approx((0.6285, 0.2312, 0.1402), abs=1e-4)
    assert (decision.route, decision.label, decision.threshold) == ("label", "no", 0.6)
    assert decision.prediction_set is None
    stricter = policy(calibration(no=0.63, yes=0.9, maybe=None)).choose(SURE)
    assert (stricter.route, stricter.reasons) == ("review", ("low_confidence",))


def test_a_reviewer_gets_the_short_list() -> None:
    decision = policy(margin=0.9).choose(SURE)
    assert decision.route == "review"
    assert decision.prediction_set == ("no", "yes")


def test_a_label_that_nothing_could_be_promised_for_always_goes_to_people() -> None:
    decision = policy().choose(Prediction((0.0, 0.0, 1.0), log_scores=(0.0, 0.0, 1000.0)))
    assert (decision.label, decision.confidence) == ("maybe", 1.0)
    assert (decision.route, decision.threshold) == ("review", 1.0)


def test_own_thresholds_override_and_a_looser_one_is_named() -> None:
    plain, stricter = policy(), policy(thresholds={"no": 0.99})
    looser = policy(thresholds={"no": 0.1, "maybe": 0.9})
    assert plain.threshold_set_id == PROVEN.threshold_set_id
    assert len({r.threshold_set_id for r in (plain, stricter, looser)}) == 3
    assert (plain.loosened, stricter.loosened, looser.loosened) == ((), (), ("no", "maybe"))
    assert stricter.choose(SURE).route == "review"
    assert plain.calibration_id == PROVEN.id


@given(
    threshold=st.none() | st.floats(0.001, 1.0),
    proven=st.lists(st.none() | st.floats(0.001, 1.0), min_size=3, max_size=3),
    own=st.dictionaries(st.sampled_from(LABELS.names), st.floats(0.001, 1.0)),
)
def test_item_1_routing_threshold_never_accepts_what_would_be_reviewed_without_it(
    threshold: float | None, proven: list[float | None], own: dict[str, float]
) -> None:
    file = calibration(**dict(zip(LABELS.names, proven, strict=True)))
    without = policy(file, thresholds=own)
    with_it = policy(file, thresholds=own, threshold=threshold)
    for after, before in zip(with_it.thresholds, without.thresholds, strict=True):
        assert after == max(before, threshold or 0.0)
    is_changed = with_it.thresholds != tuple(file.limits[name] for name in LABELS.names)
    assert (with_it.change is not None) == is_changed
    assert (with_it.change == "loosened") == bool(with_it.loosened)
    assert with_it.choose(SURE).threshold_change == with_it.change
    whole = Settings.model_validate(
        {
            "model": {"backend": "fake"},
            "routing": {"calibration": "c.yaml", "threshold": threshold, "thresholds": own},
        }
    )
    assert policy_for(CLASSIFIER, whole, file).change == with_it.change


def test_item_1_the_default_of_routing_threshold_does_not_touch_a_calibration() -> None:
    low = calibration(no=0.3, yes=0.3, maybe=0.3)
    assert policy(low).thresholds == (0.3, 0.3, 0.3)
    assert policy(low).change is None
    assert routing_policy(LABELS, RoutingSettings()).thresholds == (0.5, 0.5, 0.5)


def test_a_calibration_without_thresholds_leaves_those_of_the_settings() -> None:
    r = policy(calibration(), threshold=0.62)
    assert r.choose(SURE).route == "label"
    assert r.choose(SURE).threshold == 0.62


def test_no_calibration_has_no_id() -> None:
    r = routing_policy(LABELS, RoutingSettings())
    assert (r.calibration_id, r.threshold_set_id) == (None, None)
    assert r.choose(SURE).probabilities == SURE.probabilities


def test_tightened_thresholds_move_towards_1_under_a_new_id() -> None:
    before = policy()
    after = before.tightened(0.5)
    assert after.choose(SURE).threshold == pytest.approx(0.8)
    assert after.choose(SURE).route == "review"
    assert after.threshold_set_id not in {before.threshold_set_id, None}
    assert after.choose(SURE).threshold_set_id == after.threshold_set_id
    assert before.choose(SURE) == policy().choose(SURE)  # nothing moved behind its back
    assert before.choose(SURE).threshold_set_id == PROVEN.threshold_set_id
    assert (before.change, after.change) == (None, "tightened")
    assert policy(thresholds={"no": 0.1}).tightened(0.5).change == "loosened"


def test_a_calibration_is_opened_and_refused_for_another_model(tmp_path: Path) -> None:
    path = tmp_path / "calibration.yaml"
    settings = Settings.model_validate(
        {"model": {"backend": "fake"}, "routing": {"calibration": str(path)}}
    )
    with pytest.raises(ConfigError, match="no such file"):
        read_calibration(settings.routing)
    PROVEN.write(path)
    file = read_calibration(settings.routing)
    assert policy_for(CLASSIFIER, settings, file).calibration_id == PROVEN.id
    other = ScriptedClassifier(labels=LabelSet(("no", "yes")))
    with pytest.raises(ConfigError, match=r"routing\.calibration: .* labels"):
        policy_for(other, settings, file)
