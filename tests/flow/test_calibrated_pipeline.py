"""Calibration and audit, through the real pipeline to the bytes on the topics."""

from typing import Any

import orjson
import pytest

from streamlabel.consumer.output.schemas import LabelMessage, ReviewMessage
from streamlabel.models.calibration.calibration_file import CalibrationFile
from tests.flow.rig import LABELS, Rig, ScriptedClassifier, rig


def made() -> CalibrationFile:
    tree = {
        "model": {
            "name": "scripted",
            "backend": "fake",
            "digest": ScriptedClassifier().identity.digest,
            "device": "cpu",
            "dtype": "float32",
            "labels": list(LABELS.names),
            "problem_type": "single_label",
        },
        "mapping": {"method": "temperature", "temperature": 2.0},
        "thresholds": {
            "chosen_by": "promise",
            "by_label": {"no": 0.9, "yes": 0.75},
            "bound": 0.01,
            "confidence": 0.95,
            "summary": "s",
        },
        "prediction_sets": {"miss_rate": 0.05, "reviewed": 3, "limits": {"no": 0.8, "yes": 0.8}},
        "evidence": {
            "made_on": "2026-11-22",
            "items": 3,
            "by_label": {"no": 3},
            "log_loss_before": 0.3,
            "log_loss_after": 0.2,
        },
    }
    return CalibrationFile.model_validate(tree).with_id()


def messages(r: Rig, topic: str) -> list[dict[str, Any]]:
    return [orjson.loads(outbound.value or b"") for outbound in r.broker.written(topic)]


async def test_outputs_carry_both_probabilities_both_ids_and_the_short_list() -> None:
    calibration = made()
    settings = {"routing": {"calibration": "calibration.yaml"}}
    async with rig(settings=settings, calibration=calibration) as r:
        await r.send("0.9 sure", "0.8 unsure")
        await r.drain()
        [label], [review] = messages(r, "labels"), messages(r, "review")
    assert label["confidence"] == 0.75  # 0.9 at temperature 2
    assert label["raw_probabilities"]["yes"] == 0.9
    assert label["model"]["calibration_id"] == calibration.id
    assert label["model"]["threshold_set_id"] == calibration.threshold_set_id
    assert "threshold_change" not in label["model"]
    assert "prediction_set" not in label
    assert review["threshold"] == 0.75
    assert review["prediction_set"] == ["yes", "no"]
    LabelMessage.model_validate_json(orjson.dumps(label))
    ReviewMessage.model_validate_json(orjson.dumps(review))


async def test_item_1_routing_threshold_tightens_a_calibration_and_every_record_says_so() -> None:
    calibration = made()
    settings = {"routing": {"threshold": 0.8, "calibration": "calibration.yaml"}}
    async with rig(settings=settings, calibration=calibration) as r:
        await r.send("0.9 sure", "0.98 surer")  # 0.75 and 0.875 at temperature 2
        await r.drain()
        [label], [review] = messages(r, "labels"), messages(r, "review")
    assert (label["confidence"], review["confidence"]) == (pytest.approx(0.875), 0.75)
    assert (review["reasons"], review["threshold"]) == (["low_confidence"], 0.8)
    for message in (label, review):
        assert message["model"]["threshold_change"] == "tightened"
        assert message["model"]["threshold_set_id"] not in {None, calibration.threshold_set_id}
    LabelMessage.model_validate_json(orjson.dumps(label))


async def test_an_audited_record_goes_to_both_topics_with_its_probability() -> None:
    routing = {"threshold": 0.8, "audit_share": 0.3}
    async with rig(settings={"routing": routing, "audit": {"key": "k" * 16}}) as r:
        await r.send(*["0.9 sure"] * 40, "0.5 unsure")
        await r.drain()
        labels, reviews = messages(r, "labels"), messages(r, "review")
    audits = [review for review in reviews if review["reasons"] == ["audit"]]
    assert len(labels) == 40
    assert 4 < len(audits) < 22
    assert len(reviews) == len(audits) + 1
    copied = {label["id"] for label in labels if label["route"] == "copy"}
    assert copied == {audit["id"] for audit in audits}
    assert {audit["audit_probability"] for audit in audits} == {0.3}
    ReviewMessage.model_validate_json(orjson.dumps(audits[0]))
