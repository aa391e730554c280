"""A cascade: what a stage is sure of leaves, and the outcome says what every stage said."""

from dataclasses import replace

import pytest

from streamlabel.config.settings import Settings
from streamlabel.consumer.core.records import Position, SourceRecord, TextRecord
from streamlabel.consumer.output.timings import Timings
from streamlabel.consumer.plans.cascade import LATE, Cascade
from streamlabel.consumer.plans.deployment import Deployment, deploy
from streamlabel.consumer.plans.job import Classified, Job, NotClassified, Result
from streamlabel.consumer.plans.plan import Ask, Done
from streamlabel.errors import RecordError
from streamlabel.models.core.classifier import Prediction
from tests.flow.rig import ScriptedClassifier

RECORD = TextRecord(SourceRecord(Position("texts", 0, 7), None, b"{}", (), 0, 0.0), "id", "x", 0)
TIMINGS = Timings(0, 0.0, 0.0)
STAGES = ("fast", "mid", "slow")


def stage(name: str, *, review: str = "divert") -> Deployment:
    settings = Settings.model_validate(
        {"model": {"backend": "fake"}, "routing": {"threshold": 0.8, "review": review}}
    )
    made = deploy(settings, ScriptedClassifier(), limit_bytes=lambda _: 1 << 30)
    return replace(made, id=name, stage=name)


def says(deployment: Deployment, yes: float, *, truncated: bool = False) -> Result:
    prediction = Prediction((1 - yes, yes), truncated=truncated)
    decision = deployment.policy.decide(prediction, "id")
    if truncated and not decision.reasons:
        decision = replace(decision, route="review", reasons=("truncated",))
    return Classified(deployment, prediction, decision, TIMINGS)


def fails(deployment: Deployment, reason: str = "inference_error") -> Result:
    return NotClassified(deployment, RecordError(reason, "why"))


def run(*results: Result) -> tuple[Result, list[str]]:
    """Give the results in the order in which they are asked for; return the final one, and asks."""
    plan, job = Cascade(STAGES), Job(RECORD, None, None)  # type: ignore[arg-type]  # not used
    [ask] = plan.start(RECORD)
    asked = [ask.deployment]
    for result in results:
        assert result.deployment.id == asked[-1]
        job.results[result.deployment.id] = result
        step = plan.next(job, result)
        if isinstance(step, Done):
            [final] = step.results
            assert plan.result(job) is not None
            assert final == plan.result(job)
            return final, asked
        assert plan.result(job) is None
        [ask] = step
        assert isinstance(ask, Ask)
        asked.append(ask.deployment)
    raise AssertionError("it asks for more")


FAST, MID, SLOW = (stage(name) for name in STAGES)


def decided(result: Result) -> tuple[str, str | None, tuple[str, ...], list[str]]:
    assert isinstance(result, Classified)
    decision = result.decision
    return (
        decision.route,
        decision.label,
        decision.reasons,
        [each.stage for each in decision.stages],
    )


def test_what_a_stage_is_sure_of_leaves() -> None:
    final, asked = run(says(FAST, 0.9))
    assert asked == ["fast"]
    assert decided(final) == ("label", "yes", (), ["fast"])


def test_what_no_stage_is_sure_of_goes_to_review_with_what_each_said() -> None:
    final, asked = run(says(FAST, 0.6), says(MID, 0.3), says(SLOW, 0.7))
    assert asked == list(STAGES)
    assert decided(final) == ("review", "yes", ("low_confidence",), list(STAGES))
    assert isinstance(final, Classified)
    said = [(each.label, each.confidence, each.reasons) for each in final.decision.stages]
    unsure = ("low_confidence",)
    assert said == [("yes", 0.6, unsure), ("no", 0.7, unsure), ("yes", 0.7, unsure)]


def test_the_audit_does_not_ask_a_further_stage() -> None:
    result = says(FAST, 0.9)
    assert isinstance(result, Classified)
    drawn = replace(result.decision, route="copy", reasons=("audit",), audit_probability=0.1)
    final, asked = run(replace(result, decision=drawn))
    assert asked == ["fast"]
    assert decided(final) == ("copy", "yes", ("audit",), ["fast"])


def test_a_stage_that_fails_is_not_sure() -> None:
    final, _ = run(fails(FAST), says(MID, 0.95))
    assert decided(final) == ("label", "yes", (), ["fast", "mid"])
    assert isinstance(final, Classified)
    assert final.decision.stages[0].reasons == ("inference_error",)


def test_a_failure_of_the_last_stage_is_a_dead_letter() -> None:
    final, _ = run(says(FAST, 0.6), says(MID, 0.6), fails(SLOW))
    assert isinstance(final, NotClassified)
    assert final.error.reason == "inference_error"


@pytest.mark.parametrize("reason", sorted(LATE))
def test_the_result_before_goes_to_review_if_a_stage_is_late(reason: str) -> None:
    final, asked = run(says(FAST, 0.6), fails(MID, reason))
    assert asked == ["fast", "mid"], "a stage behind a late one is not asked"
    assert decided(final) == ("review", "yes", ("low_confidence", reason), ["fast", "mid"])


@pytest.mark.parametrize("reason", sorted(LATE))
def test_a_failure_and_then_a_late_stage_is_the_failure(reason: str) -> None:
    final, _ = run(fails(FAST), fails(MID, reason))
    assert isinstance(final, NotClassified)
    assert final.error.reason == "inference_error"


@pytest.mark.parametrize("review", ["divert", "copy"])
def test_two_stages_over_their_thresholds_that_differ_go_to_review(review: str) -> None:
    fast, mid = stage("fast", review=review), stage("mid", review=review)
    final, _ = run(says(fast, 0.9, truncated=True), says(mid, 0.05))
    route = "copy" if review == "copy" else "review"
    assert decided(final) == (route, "no", ("disagreement",), ["fast", "mid"])
    same, _ = run(says(fast, 0.9, truncated=True), says(mid, 0.95))
    assert decided(same) == ("label", "yes", (), ["fast", "mid"])
