"""Several tasks: whatever the order of results, those that apply are asked once, and all count."""

import random
from collections.abc import Mapping
from dataclasses import replace

import pytest

from streamlabel.config.settings import Settings
from streamlabel.consumer.core.records import Position, SourceRecord, TextRecord
from streamlabel.consumer.output.timings import Timings
from streamlabel.consumer.plans.deployment import Deployment, deploy
from streamlabel.consumer.plans.job import Classified, Job, NotClassified, Result
from streamlabel.consumer.plans.opening import plan_for
from streamlabel.consumer.plans.plan import Done
from streamlabel.errors import ConfigError, RecordError
from streamlabel.models.core.classifier import Prediction
from tests.flow.rig import ScriptedClassifier

HEADERS = (("Lang", b"de"), ("lang", b"en"), ("raw", b"\xff"))
SOURCE = SourceRecord(Position("texts", 0, 7), None, b"{}", HEADERS, 0, 0.0)
RECORD = TextRecord(
    SOURCE,
    "id",
    "x",
    0,
    metadata=b'{"a": {"b": 1, "flag": true}, "kind": "x"}',
    language="pt",
)
TIMINGS = Timings(0, 0.0, 0.0)


def settings(tasks: Mapping[str, Mapping[str, object]]) -> Settings:
    models = {name: {"model": {"backend": "fake"}, **task} for name, task in tasks.items()}
    return Settings.model_validate({"tasks": models})


def deployed(of: Settings) -> dict[str, Deployment]:
    made = deploy(
        Settings.model_validate({"model": {"backend": "fake"}, "routing": {"threshold": 0.8}}),
        ScriptedClassifier(),
        limit_bytes=lambda _: 1 << 30,
    )
    return {name: replace(made, id=name, task=name) for name in of.tasks}


def answer(deployment: Deployment, said: str) -> Result:
    if said == "failed":
        return NotClassified(deployment, RecordError("inference_error", "why"))
    prediction = Prediction((0.1, 0.9) if said == "yes" else (0.9, 0.1))
    decision = deployment.policy.decide(prediction, "id")
    return Classified(deployment, prediction, decision, TIMINGS)


def applicable(of: Settings, said: Mapping[str, str]) -> set[str]:
    """What the page says, in the most direct way: the oracle of the test."""
    found: set[str] = set()

    def applies(name: str) -> bool:
        when = of.tasks[name].when
        return all(
            applies(other) and said[other] in ([wanted] if isinstance(wanted, str) else wanted)
            for other, wanted in when.tasks.items()
        )

    for name in of.tasks:
        if applies(name):
            found.add(name)
    return found


@pytest.mark.parametrize("seed", range(200))
def test_every_task_that_applies_is_asked_once_and_all_results_count(seed: int) -> None:
    chance = random.Random(seed)
    names = [f"t{number}" for number in range(chance.randint(1, 6))]
    order = chance.sample(names, len(names))  # the order of the file is not that of the needs
    needs = {
        name: {
            other: chance.choice(["yes", "no", ["yes", "no"]])
            for other in order[:place]
            if chance.random() < 0.4
        }
        for place, name in enumerate(order)
    }
    of = settings({name: {"when": {"tasks": needs[name]}} for name in names})
    deployments = deployed(of)
    plan = plan_for(of, list(deployments.values()))
    said = {name: chance.choice(["yes", "yes", "no", "failed"]) for name in names}
    expected = applicable(of, said)

    job = Job(RECORD, None, None)  # type: ignore[arg-type]  # delivery and slot are not used
    asked = [ask.deployment for ask in plan.start(RECORD)]
    pending, done = list(asked), None
    while pending:
        assert done is None
        name = pending.pop(chance.randrange(len(pending)))
        job.results[name] = answer(deployments[name], said[name])
        step = plan.next(job, job.results[name])
        if isinstance(step, Done):
            done = step
        else:
            asked += [ask.deployment for ask in step]
            pending += [ask.deployment for ask in step]
    assert sorted(asked) == sorted(expected)
    assert done is not None
    assert {result.deployment.id for result in done.results} == expected


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ({}, True),
        ({"metadata": {"a.b": 1}}, True),
        ({"metadata": {"a.b": [2, 1.0]}}, True),
        ({"metadata": {"a.b": True}}, False),
        ({"metadata": {"a.flag": 1}}, False),
        ({"metadata": {"a.flag": True}}, True),
        ({"metadata": {"a.b.c": 1}}, False),
        ({"metadata": {"missing": "x"}}, False),
        ({"metadata": {"kind": ["y", "x"]}}, True),
        ({"metadata": {"kind": "x", "a.b": 2}}, False),
        ({"headers": {"LANG": "en"}}, True),
        ({"headers": {"lang": ["fr", "de"]}}, False),  # the last one counts
        ({"headers": {"raw": "ÿ"}}, False),
        ({"headers": {"lang": "en"}, "metadata": {"kind": "x"}}, True),
        ({"language": "pt"}, True),
        ({"language": ["en", "pt"]}, True),
        ({"language": "und"}, False),
        ({"language": "pt", "metadata": {"kind": "y"}}, False),
    ],
)
def test_a_condition_on_the_record(when: dict[str, object], holds: bool) -> None:
    of = settings({"always": {}, "some": {"when": when}})
    plan = plan_for(of, list(deployed(of).values()))
    asked = [ask.deployment for ask in plan.start(RECORD)]
    assert asked == (["always", "some"] if holds else ["always"])


def test_metadata_that_was_dropped_does_not_evade_a_task() -> None:
    of = settings({"some": {"when": {"metadata": {"kind": "y"}}}})
    plan = plan_for(of, list(deployed(of).values()))
    assert not plan.start(RECORD)
    assert plan.start(replace(RECORD, metadata=None, metadata_dropped=True))


def test_a_condition_on_a_label_that_the_task_does_not_have_is_refused() -> None:
    of = settings({"first": {}, "then": {"when": {"tasks": {"first": ["yes", "maybe"]}}}})
    with pytest.raises(ConfigError, match=r"tasks\.then\.when\.tasks\.first: maybe: unknown"):
        plan_for(of, list(deployed(of).values()))


@pytest.mark.parametrize(
    ("topic", "asked"),
    [
        ("news", {"tone"}),
        ("chat-1", {"spam", "help"}),
        ("mixed", {"tone", "spam", "help"}),
        ("of no entry", {"tone", "spam", "help"}),
    ],
)
def test_a_topic_may_have_some_of_the_tasks_only(topic: str, asked: set[str]) -> None:
    fake = {"model": {"backend": "fake"}}
    topics = [
        {"name": "news", "tasks": ["tone", "help"]},
        {"pattern": "chat-.*", "tasks": ["spam", "help"]},
        {"name": "mixed"},
    ]
    tasks = {"tone": fake, "spam": fake, "help": {**fake, "when": {"tasks": {"spam": "yes"}}}}
    of = Settings.model_validate({"tasks": tasks, "input": {"topics": topics}})
    by_name = deployed(of)
    plan = plan_for(of, list(by_name.values()))
    job = Job(replace(RECORD, source=replace(SOURCE, position=Position(topic, 0, 0))), None, None)  # type: ignore[arg-type]
    waiting = [ask.deployment for ask in plan.start(job.record)]
    seen = set(waiting)
    step: object = None
    while waiting:
        result = answer(by_name[waiting[0]], "yes")
        job.results[waiting.pop(0)] = result
        step = plan.next(job, result)
        if not isinstance(step, Done):
            waiting += [ask.deployment for ask in step]
            seen |= {ask.deployment for ask in step}
    assert isinstance(step, Done)
    # a task that needs another one does not apply where that does not
    assert seen == {each.deployment.id for each in step.results} == asked
