"""Thresholds for each answer of a multi-label task: from predictions to a file, and its effects."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streamlabel.config.settings import RoutingSettings, Settings
from streamlabel.consumer.routing.router import routing_policy
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.classifier import BatchHints, ModelIdentity, Prediction
from streamlabel.models.core.labels import LabelSet
from streamlabel.quality.calibrating import calibrate
from streamlabel.quality.calibration_lines import calibration_lines
from streamlabel.quality.choosing import Wish
from streamlabel.quality.evaluation import Scored
from streamlabel.quality.label_lines import answer_table
from streamlabel.quality.labelled import LabelledText
from streamlabel.quality.report import accepted_of
from streamlabel.quality.scoring import Answers

TAGS = LabelSet(("rude", "threat", "spam"), "multi_label")
IDENTITY = ModelIdentity("m", "fake", "cpu", "float32", "d" * 8)
PRIORS, SHARPNESS = np.array([-6.0, -14.0, 1.0]), np.array([6.0, 10.0, 14.0])
SETTINGS = Settings.model_validate({"model": {"backend": "fake"}})


def answers(
    texts: int = 1500, *, seed: int = 0, noise: Mapping[str, float] | None = None
) -> Answers:
    """Answers of a model that is right about its probabilities, but for labels with noise."""
    rng = np.random.default_rng(seed)
    logits = PRIORS + SHARPNESS * rng.normal(size=(texts, 3))
    truth = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    for name, share in (noise or {}).items():
        truth[:, TAGS.index(name)] ^= rng.random(texts) < share
    rows = zip(logits.tolist(), (1 / (1 + np.exp(-logits))).tolist(), strict=True)
    labelled = tuple(
        LabelledText(
            i + 1, f"text {i}", tuple(n for n, yes in zip(TAGS.names, row, strict=True) if yes)
        )
        for i, row in enumerate(truth.tolist())
    )
    predictions = tuple(Prediction(tuple(shown), tuple(raw)) for raw, shown in rows)
    return Answers(TAGS, IDENTITY, BatchHints(), labelled, predictions, (), 0)


def made(found: Answers | None = None, **wish: Any) -> CalibrationFile:  # noqa: ANN401 criteria
    return calibrate(found or answers(), Wish(**wish), SETTINGS)


def test_every_label_gets_two_thresholds_and_a_guarantee() -> None:
    found = answers()
    file = made(found, target_error=0.03)
    assert file.answers is not None
    assert file.thresholds is not None
    assert set(file.answers.guarantees) == set(TAGS.names)
    assert file.thresholds.target_error is None  # it is that of each label, not of whole texts
    policy = routing_policy(TAGS, RoutingSettings(), calibration=file)
    accepted = found.is_accepted(policy)
    assert accepted.sum() > 500
    for name, each in file.answers.guarantees.items():
        assert (each.target_error, each.accepted) == (0.03, accepted.sum())
        said = np.array([name in policy.choose(p).labels for p in found.predictions])
        wrong = accepted & (said != found.truth[:, TAGS.index(name)])
        assert each.wrong == wrong.sum()
    assert (found.is_sure(policy).all(axis=1) == accepted).all()
    assert file == file.with_id()
    lines = list(calibration_lines(file))
    assert any(
        "rude: surely absent below 0." in line and "guaranteed <= 3.0 %" in line for line in lines
    )


def test_a_text_with_another_reason_for_review_is_no_evidence() -> None:
    found = answers()
    cut = tuple(replace(p, truncated=True) if i % 2 else p for i, p in enumerate(found.predictions))
    settings = Settings.model_validate(
        {"model": {"backend": "fake"}, "routing": {"review_truncated": True}}
    )
    file = calibrate(replace(found, predictions=cut), Wish(target_error=0.05), settings)
    assert file.answers is not None
    assert all(each.accepted <= 750 for each in file.answers.guarantees.values())


def test_a_label_that_cannot_be_promised_is_named_with_what_would_help() -> None:
    found = answers(noise={"rude": 0.2})
    with pytest.raises(ConfigError) as error:
        made(found, target_error=0.03)
    said = str(error.value)
    assert "rude: an accepted error <= 3.0 %" in said
    assert "more would do" in said
    assert "--no-target LABEL" in said
    file = made(found, target_error=0.03, without=("rude",))
    assert file.answers is not None
    assert set(file.answers.guarantees) == {"threat", "spam"}
    policy = routing_policy(TAGS, RoutingSettings(), calibration=file)
    assert not any("rude" in policy.choose(p).unsure_labels for p in found.predictions)
    assert any(
        "rude: every answer is accepted; no guarantee" in line for line in calibration_lines(file)
    )


def test_leaving_every_label_out_is_refused() -> None:
    with pytest.raises(ConfigError, match="--no-target: names every label"):
        made(target_error=0.03, without=TAGS.names)


@pytest.mark.parametrize("target_error", [None, 0.03])
def test_a_limit_of_missed_texts_raises_the_threshold_of_absence_alone(
    target_error: float | None,
) -> None:
    found = answers(4000)
    file = made(found, target_error=target_error, missed={"rude": 0.05})
    assert file.answers is not None
    limit = file.missed["rude"]
    assert file.absent_limits["rude"] >= limit.floor > 0.5
    policy = routing_policy(TAGS, RoutingSettings(), calibration=file)
    accepted = found.is_accepted(policy)
    has = found.truth[:, 0]
    said = np.array(["rude" in policy.choose(p).labels for p in found.predictions])
    assert (has & accepted & ~said).sum() <= limit.missed <= 0.05 * has.sum()
    assert (target_error is None) == (not file.answers.guarantees)
    if target_error is None:
        assert file.absent_limits["spam"] < 0.5  # every answer about it is accepted


def test_a_label_without_a_target_keeps_its_limit_of_missed_texts() -> None:
    found = answers(4000)
    file = made(found, target_error=0.05, missed={"rude": 0.05}, without=("rude",))
    assert file.answers is not None
    assert set(file.answers.guarantees) == {"threat", "spam"}
    assert file.absent_limits["rude"] == file.missed["rude"].floor > 0.5
    policy = routing_policy(TAGS, RoutingSettings(), calibration=file)
    said = np.array(["rude" in policy.choose(p).labels for p in found.predictions])
    missed = found.truth[:, 0] & found.is_accepted(policy) & ~said
    assert missed.sum() <= file.missed["rude"].missed


def test_more_review_than_allowed_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"more review than 1\.0%"):
        made(target_error=0.02, max_review=0.01)


def test_evaluate_says_of_each_label_what_is_sure_and_whether_it_held(tmp_path: Any) -> None:  # noqa: ANN401 a path
    file = made(target_error=0.03)
    file.write(tmp_path / "c.yaml")
    settings = Settings.model_validate(
        {"model": {"backend": "fake"}, "routing": {"calibration": str(tmp_path / "c.yaml")}}
    )
    others = answers(3000, seed=1, noise={"spam": 0.1})
    policy = routing_policy(TAGS, settings.routing, calibration=file)
    calibration = policy.calibration
    rows = [
        p.probabilities if calibration is None else calibration.probabilities(p)
        for p in others.predictions
    ]
    scored = Scored(TAGS, np.array(rows), others.truth)
    found = accepted_of(others, scored, policy, settings)
    by_label = {each.label: each for each in found.answers}
    assert (by_label["rude"].result, by_label["spam"].result) == ("held", "broken")
    assert by_label["rude"].texts == 3000
    assert by_label["threat"].sure > by_label["rude"].sure >= found.accepted
    assert by_label["spam"].missed <= by_label["spam"].wrong
    assert {each.what for each in found.guarantees} == {
        f"wrong answers about {name} in accepted texts" for name in TAGS.names
    }
    table = answer_table(found.answers)
    assert table[0].split()[0] == "label"
    assert any("spam" in line and "3.0 %: broken" in line for line in table)
