"""Multi-label with thresholds for each answer, through the real pipeline to the topics."""

import random
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from streamlabel.consumer.output.schemas import LabelMessage, ReviewMessage
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.core.labels import LabelSet
from tests.flow.rig import ScriptedClassifier, rig

TAGS = LabelSet(("rude", "threat"), "multi_label")


@dataclass
class Tagger(ScriptedClassifier):
    """Gives both labels the probabilities that are written in the text."""

    labels: LabelSet = TAGS

    @staticmethod
    def _answer(text: str) -> Prediction:
        rude, threat = text.split()[:2]
        return Prediction((float(rude), float(threat)))


def calibration() -> CalibrationFile:
    tree = {
        "model": {
            "name": "scripted",
            "backend": "fake",
            "digest": Tagger().identity.digest,
            "device": "cpu",
            "dtype": "float32",
            "labels": list(TAGS.names),
            "problem_type": "multi_label",
        },
        "mapping": {"method": "identity"},
        "thresholds": {
            "chosen_by": "promise",
            "by_label": {"rude": 0.8, "threat": 0.9},
            "bound": 0.02,
            "confidence": 0.95,
            "summary": "s",
        },
        "answers": {
            "absent": {"rude": 0.7, "threat": 0.98},
            "guarantees": {"rude": {"target_error": 0.02, "accepted": 300, "wrong": 0}},
        },
        "evidence": {
            "made_on": "2026-11-30",
            "items": 3,
            "by_label": {},
            "log_loss_before": 0.3,
            "log_loss_after": 0.3,
        },
    }
    return CalibrationFile.model_validate(tree).with_id()


async def routed(*texts: str, batch_items: int = 64, **routing: object) -> dict[str, Any]:
    """Return the outputs by topic, as JSON in the order of the input."""
    settings = {
        "routing": {"calibration": "calibration.yaml", **routing},
        "batching": {"max_batch_items": batch_items},
        "model": {"backend": "fake"},
    }
    async with rig(settings=settings, classifier=Tagger(), calibration=calibration()) as r:
        await r.send(*texts)
        await r.drain()
        return {
            topic: [orjson.loads(each.value or b"") for each in r.broker.written(topic)]
            for topic in ("labels", "review")
        }


async def test_a_record_with_an_unsure_answer_goes_to_review_and_names_the_label() -> None:
    found = await routed("0.9 0.01 sure", "0.6 0.01 unsure", "0.1 0.1 unsure", "0.6 0.6 both")
    [label] = found["labels"]
    assert (label["labels"], label["route"]) == (["rude"], "label")
    assert "unsure_labels" not in label
    assert [each["unsure_labels"] for each in found["review"]] == [
        ["rude"], ["threat"], ["rude", "threat"]
    ]  # fmt: skip
    assert {tuple(each["reasons"]) for each in found["review"]} == {("low_confidence",)}
    assert [each["threshold"] for each in found["review"]] == [0.8, 0.98, 0.9]
    LabelMessage.model_validate_json(orjson.dumps(label))
    for each in found["review"]:
        ReviewMessage.model_validate_json(orjson.dumps(each))


@pytest.mark.parametrize("batch_items", [1, 3, 16])
async def test_routes_do_not_depend_on_the_size_of_batches(batch_items: int) -> None:
    rng = random.Random(0)
    texts = [f"{rng.random():.3f} {rng.random():.3f} text {i}" for i in range(40)]
    one, other = await routed(*texts), await routed(*texts, batch_items=batch_items)
    for topic in ("labels", "review"):
        assert one[topic]
        named = [
            [(m["id"], m["labels"], m.get("unsure_labels"), m["route"]) for m in each[topic]]
            for each in (one, other)
        ]
        assert named[0] == named[1]


async def test_a_copy_names_unsure_labels_on_both_topics() -> None:
    found = await routed("0.6 0.01 unsure", review="copy")
    assert [found[topic][0]["unsure_labels"] for topic in ("labels", "review")] == [["rude"]] * 2


async def test_the_lever_sends_more_to_review_and_every_record_says_so() -> None:
    texts = ("0.95 0.01 sure", "0.85 0.01 less")
    assert len((await routed(*texts))["labels"]) == 2
    found = await routed(*texts, threshold=0.9)
    assert [each["unsure_labels"] for each in found["review"]] == [["rude"]]
    assert found["labels"][0]["model"]["threshold_change"] == "tightened"
