"""A calibrated cascade routes every record as the service does; files say what was proven."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlabel.config.deployments import DeploymentSettings, all_deployments
from streamlabel.config.settings import Settings
from streamlabel.consumer.core.records import Position, SourceRecord, TextRecord
from streamlabel.consumer.output.timings import Timings
from streamlabel.consumer.plans.deployment import Deployment
from streamlabel.consumer.plans.job import Classified, Job, NotClassified
from streamlabel.consumer.plans.opening import deploy_all, plan_for
from streamlabel.consumer.plans.plan import Done
from streamlabel.errors import ConfigError, RecordError
from streamlabel.models.calibration.cascade_choices import route
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.core.labels import LabelSet
from streamlabel.quality.cascade_calibrating import (
    CalibratedCascade,
    StageAnswers,
    calibrate_cascade,
    choices_of_stage,
)
from streamlabel.quality.labelled import LabelledText
from streamlabel.quality.scoring import Answers
from tests.flow.rig import ScriptedClassifier

NAMES = ("ham", "spam", "egg")
OWN = ("neutral", "insult", "egg")
RECORD = TextRecord(SourceRecord(Position("texts", 0, 7), None, b"{}", (), 0, 0.0), "id", "x", 0)


def cascade(**more: Any) -> Settings:  # noqa: ANN401 any settings of the last stage
    fake = {"backend": "fake"}
    routing = {"review_truncated": True, "margin": 0.05}
    return Settings.model_validate(
        {
            "cascade": [
                {
                    "name": "fast",
                    "model": fake,
                    "routing": routing,
                    "labels": {"neutral": "ham", "insult": "spam"},
                },
                {"name": "slow", "price": 20, "model": fake, "review_price": 500, **more},
            ]
        }
    )


def answers(model: DeploymentSettings, seed: int, texts: list[LabelledText]) -> StageAnswers:
    """Return what a stage says: the second one is right more often; some texts fail."""
    rng = np.random.default_rng(seed)
    is_first = model.id == "fast"
    own = dict(zip(NAMES, OWN, strict=True)) if is_first else {name: name for name in NAMES}
    labels = LabelSet(OWN if is_first else NAMES)
    kept, predictions, failed = [], [], []
    for text in texts:
        right = labels.index(own[text.labels[0]])
        hard = rng.beta(1.0, 4.0)
        logits = rng.normal(0, 0.3, 3)
        logits[right if rng.random() > hard * (0.8 if is_first else 0.4) else rng.integers(3)] += (
            5 * (1 - hard)
        )
        if rng.random() < 0.02:
            failed.append((text.line, "why"))
            continue
        power = np.exp(logits)
        kept.append(replace(text, labels=(own[text.labels[0]],)))
        predictions.append(
            Prediction(
                tuple((power / power.sum()).tolist()),
                tuple(logits.tolist()),
                truncated=bool(rng.random() < 0.05),
            )
        )
    classifier = ScriptedClassifier(labels=labels)
    identity, hints = classifier.identity, classifier.hints
    found = Answers(labels, identity, hints, tuple(kept), tuple(predictions), tuple(failed), 0)
    return StageAnswers(model, found)


def made(
    seed: int, *, items: int = 1200, target: float = 0.15, config: Settings | None = None
) -> tuple[CalibratedCascade, list[StageAnswers], list[LabelledText]]:
    rng = random.Random(seed)
    texts = [LabelledText(i + 1, f"text {i}", (rng.choice(NAMES),)) for i in range(items)]
    stages = [
        answers(each, seed * 7 + n, texts)
        for n, each in enumerate(all_deployments(config or cascade()))
    ]
    return calibrate_cascade(stages, texts, target=target, level=0.95), stages, texts


def deployed(made_of: CalibratedCascade, stages: list[StageAnswers]) -> list[Deployment]:
    files = {each.model.id: file for each, file in zip(stages, made_of.files, strict=True)}
    config = cascade(routing={"calibration": "slow.yaml"})
    first = config.cascade[0].model_copy(
        update={"routing": config.cascade[0].routing.model_copy(update={"calibration": "f.yaml"})}
    )
    config = config.model_copy(update={"cascade": [first, config.cascade[1]]})
    classifiers = {each.model.id: ScriptedClassifier(labels=each.answers.labels) for each in stages}
    found = deploy_all(config, classifiers, limit_bytes=lambda _: 1 << 30, calibrations=files)
    plan_for(config, found)
    return found


@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_calibrate_routes_every_record_as_the_service_does(seed: int) -> None:
    try:
        result, stages, texts = made(seed, items=500, target=0.2)
    except ConfigError:  # an unlucky sample
        return
    deployments = deployed(result, stages)
    plan = plan_for(cascade(), deployments)
    choices = [
        choices_of_stage(each, file, texts, NAMES)
        for each, file in zip(stages, result.files, strict=True)
    ]
    routed = route(choices, result.promise.chosen.thresholds)
    said = [
        dict(zip([t.line for t in s.answers.texts], s.answers.predictions, strict=True))
        for s in stages
    ]
    for place, text in enumerate(texts):
        job = Job(RECORD, None, None)  # type: ignore[arg-type]  # not used
        asks, asked = plan.start(RECORD), 0
        while True:
            deployment = deployments[asked]
            assert [ask.deployment for ask in asks] == [deployment.id]
            prediction = said[asked].get(text.line)
            if prediction is None:
                now: Any = NotClassified(deployment, RecordError("inference_error", "why"))
            else:
                decision = deployment.policy.decide(prediction, "id")
                now = Classified(deployment, prediction, decision, Timings(0, 0.0, 0.0))
            job.results[deployment.id] = now
            step = plan.next(job, now)
            if isinstance(step, Done):
                break
            asks, asked = step, asked + 1
        [final] = step.results
        is_accepted = isinstance(final, Classified) and final.decision.route == "label"
        assert is_accepted == routed.is_accepted[place]
        assert asked == routed.stage[place]
        if isinstance(final, Classified) and is_accepted:
            assert (final.decision.labels != text.labels) == routed.is_wrong[place]


def test_files_say_what_was_proven_and_each_stage_accepts_from_its_own_threshold() -> None:
    result, stages, _ = made(1)
    chosen = result.promise.chosen
    for each, file, limit in zip(stages, result.files, chosen.thresholds, strict=True):
        assert file == file.with_id()
        assert file.cascade is not None
        assert file.cascade.stage == each.model.id
        assert [s.name for s in file.cascade.stages] == ["fast", "slow"]
        assert file.cascade.target_error == 0.15
        assert (file.cascade.accepted, file.cascade.wrong) == (chosen.accepted, chosen.errors)
        assert file.thresholds is not None
        assert file.thresholds.target_error is None
        assert set(file.limits) == set(each.answers.labels.names)
        assert set(file.limits.values()) == {limit}
    both = [f.cascade.model_copy(update={"stage": ""}) for f in result.files if f.cascade]
    assert both[0] == both[1]


def test_a_cascade_without_a_price_of_review_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cascade\[1\].review_price: set what a review costs"):
        made(1, config=cascade(review_price=None))


def test_too_few_texts_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no thresholds of the stages hold 1.0 %"):
        made(1, items=100, target=0.01)


def test_calibrations_are_refused_outside_of_their_cascade() -> None:
    result, stages, _ = made(1)
    other, _, _ = made(2)
    fast, slow = result.files
    deployed(result, stages)
    wrong = {
        "is of another run": (fast, other.files[1]),
        "was made for stage slow of the cascade fast -> slow, not for stage fast": (slow, fast),
    }
    for message, files in wrong.items():
        with pytest.raises(ConfigError, match=message):
            deployed(replace(result, files=files), stages)


def test_a_stage_of_a_cascade_is_refused_as_the_only_model() -> None:
    result, stages, _ = made(1)
    config = Settings.model_validate(
        {"model": {"backend": "fake"}, "routing": {"calibration": "slow.yaml"}}
    )
    with pytest.raises(ConfigError, match="thresholds hold only there"):
        deploy_all(
            config,
            {"model": ScriptedClassifier(labels=stages[1].answers.labels)},
            limit_bytes=lambda _: 1 << 30,
            calibrations={"model": result.files[1]},
        )


@pytest.mark.parametrize(("raised", "change"), [("fast", "loosened"), ("slow", "tightened")])
def test_raising_a_threshold_ends_the_guarantee_only_in_an_earlier_stage(
    raised: str, change: str
) -> None:
    result, stages, _ = made(1)
    config = Settings.model_validate(
        {
            "cascade": [
                {
                    "name": name,
                    "model": {"backend": "fake"},
                    "labels": {"neutral": "ham", "insult": "spam"} if name == "fast" else {},
                    "routing": {
                        "calibration": f"{name}.yaml",
                        **({"review_truncated": True, "margin": 0.05} if name == "fast" else {}),
                        **({"threshold": 0.9999} if name == raised else {}),
                    },
                }
                for name in ("fast", "slow")
            ]
        }
    )
    found = deploy_all(
        config,
        {s.model.id: ScriptedClassifier(labels=s.answers.labels) for s in stages},
        limit_bytes=lambda _: 1 << 30,
        calibrations=dict(zip(("fast", "slow"), result.files, strict=True)),
    )
    assert {each.id: each.policy.change for each in found if each.id == raised} == {raised: change}
