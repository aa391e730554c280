"""Tasks and cascades through the whole pipeline: outputs, order, deadlines, refusals, revokes."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.output.schemas import LabelMessage, ReviewMessage
from streamlabel.errors import ConfigError
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.core.labels import LabelSet
from tests.doubles import settle
from tests.flow.rig import Rig, ScriptedClassifier, rig

FAKE = {"backend": "fake"}
SURE = {"threshold": 0.8}
TWO: dict[str, Any] = {
    "tasks": {
        "moderation": {"model": FAKE, "routing": SURE},
        "topic": {"model": FAKE, "routing": SURE, "output": {"labels_topic": "topics"}},
    }
}
CASCADE: dict[str, Any] = {
    "cascade": [
        {"name": "fast", "model": FAKE, "routing": SURE},
        {"name": "slow", "model": FAKE, "routing": SURE, "deadline_s": 5, "max_waiting_items": 3},
    ]
}


@dataclass
class Other(ScriptedClassifier):
    """Another model, with answers of its own: sure of everything but ``vague`` texts."""

    labels: LabelSet = field(default_factory=lambda: LabelSet(("no", "yes")))

    @staticmethod
    def _answer(text: str) -> Prediction:
        return Prediction((0.55, 0.45) if "vague" in text else (0.97, 0.03))


@dataclass
class Immune(Other):
    """Takes any text."""

    async def classify(self, prepared: Any) -> Any:  # noqa: ANN401 as in the class above
        """Answer without looking."""
        texts = [str(item.payload) for item in prepared]
        self.batches.append(texts)
        await self.open.wait()
        return [self._answer(text) for text in texts]


def two(**models: ScriptedClassifier) -> dict[str, ScriptedClassifier]:
    return {"moderation": ScriptedClassifier(), "topic": Immune(), **models}


def stages() -> dict[str, ScriptedClassifier]:
    return {"fast": ScriptedClassifier(), "slow": Other()}


def messages(r: Rig, topic: str) -> list[dict[str, Any]]:
    return [orjson.loads(outbound.value or b"") for outbound in r.broker.written(topic)]


def check_schemas(r: Rig, *topics: str) -> None:
    for topic in topics:
        for message in messages(r, topic):
            kind = ReviewMessage if "text" in message else LabelMessage
            kind.model_validate_json(orjson.dumps(message))


# ---- tasks


@pytest.mark.parametrize("transactional", [False, True])
async def test_every_task_has_its_output_and_says_its_name(transactional: bool) -> None:
    async with rig(settings=TWO, models=two(), transactional=transactional) as r:
        await r.send("0.9 a", "0.6 b", "0.95 vague")
        await r.drain()
    assert [(m["task"], m["label"]) for m in messages(r, "labels")] == [("moderation", "yes")] * 2
    assert [(m["task"], m["label"]) for m in messages(r, "topics")] == [("topic", "no")] * 2
    assert [(m["task"], m["id"]) for m in messages(r, "review")] == [
        ("moderation", "texts-0-1"),
        ("topic", "texts-0-2"),
    ]
    for topic in ("labels", "topics", "review"):
        for outbound in r.broker.written(topic):
            task = orjson.loads(outbound.value or b"")["task"].encode()
            assert ("streamlabel-task", task) in outbound.headers
    check_schemas(r, "labels", "topics", "review")
    assert r.committed() == 3
    assert r.metrics.total("results", task="topic", route="label") == 2
    assert r.metrics.total("results", task="moderation", route="review") == 1
    assert r.metrics.total("labels", task="topic", label="no") == 3


async def test_one_task_that_fails_is_its_dead_letter_and_the_other_stands() -> None:
    async with rig(settings=TWO, models=two()) as r:
        await r.send("0.9 a", "0.9 poison", "0.9 b")
        await r.clock.advance(30)
        await r.drain()
    assert r.sources("labels") == [0, 2]
    assert r.sources("topics") == [0, 1, 2]
    [dead] = r.broker.written("dead-letters")
    assert dead.position.offset == 1
    assert ("streamlabel-task", b"moderation") in dead.headers
    assert ("streamlabel-error-reason", b"inference_error") in dead.headers
    assert r.committed() == 3


async def test_a_record_that_cannot_be_decoded_is_one_dead_letter_of_no_task() -> None:
    async with rig(settings=TWO, models=two()) as r:
        await r.send_raw(b"not json")
        await r.drain()
    [dead] = r.broker.written("dead-letters")
    assert "streamlabel-task" not in dict(dead.headers)


@pytest.mark.parametrize("transactional", [False, True])
@pytest.mark.parametrize("by", ["size", "broker"])
async def test_only_the_task_whose_output_is_refused_becomes_a_dead_letter(
    by: str, transactional: bool
) -> None:
    async with rig(settings=TWO, models=two(), transactional=transactional) as r:
        if by == "size":
            r.sink.limit("topics", 40)
        else:
            r.sink.refuse(lambda outbound: "no" if outbound.topic == "topics" else None)
        await r.send("0.9 a", "0.9 b")
        await r.drain()
    assert r.sources("labels") == [0, 1]
    assert r.sources("topics") == []
    reason = b"output_too_large" if by == "size" else b"output_refused"
    assert r.sources("dead-letters") == [0, 1]
    for dead in r.broker.written("dead-letters"):
        assert ("streamlabel-task", b"topic") in dead.headers
        assert ("streamlabel-error-reason", reason) in dead.headers
    assert r.committed() == 2


async def test_a_condition_on_a_label_waits_for_it_and_a_record_without_tasks_is_skipped() -> None:
    settings = {
        "tasks": {
            "topic": {"model": FAKE, "routing": SURE, "when": {"tasks": {"moderation": "yes"}}},
            "moderation": {
                "model": FAKE,
                "routing": SURE,
                "when": {"metadata": {"channel": ["chat", "forum"]}},
            },
        }
    }
    async with rig(settings=settings, models=two()) as r:
        for text, channel in [("0.9 a", "chat"), ("0.1 b", "forum"), ("0.9 c", "mail")]:
            value = orjson.dumps({"text": text, "metadata": {"channel": channel}})
            await r.send_raw(value)
        await r.drain()
    found = [(m["task"], m["source"]["offset"]) for m in messages(r, "labels")]
    assert found == [("moderation", 0), ("topic", 0), ("moderation", 1)]
    assert r.metrics.total("skipped", reason="no_task") == 1
    assert r.committed() == 3


async def test_a_slow_task_holds_the_record_but_not_the_other_model() -> None:
    models = two()
    async with rig(settings=TWO, models=models) as r:
        models["topic"].open.clear()
        await r.send("0.9 a")
        await r.send("0.9 b")
        assert len(models["moderation"].batches) == 2
        assert r.outcomes() == {}, "a record is complete when all its tasks are"
        models["topic"].open.set()
        await r.clock.advance(1)
        await r.drain()
    assert r.sources("labels") == r.sources("topics") == [0, 1]


# ---- cascades


@pytest.mark.parametrize("transactional", [False, True])
async def test_a_cascade_says_which_stages_were_asked(transactional: bool) -> None:
    models = stages()
    async with rig(settings=CASCADE, models=models, transactional=transactional) as r:
        await r.send("0.95 sure", "0.6 a", "0.6 vague")
        await r.drain()
    first, second = messages(r, "labels")
    assert (first["stage"], first["label"]) == ("fast", "yes")
    assert first["stages"] == [
        {"stage": "fast", "model": "scripted", "label": "yes", "confidence": 0.95, "reasons": []}
    ]
    assert (second["stage"], second["label"]) == ("slow", "no")
    assert [each["stage"] for each in second["stages"]] == ["fast", "slow"]
    assert second["stages"][0]["reasons"] == ["low_confidence"]
    [review] = messages(r, "review")
    assert review["reasons"] == ["low_confidence"]
    assert [each["label"] for each in review["stages"]] == ["yes", "no"]
    check_schemas(r, "labels", "review")
    assert models["slow"].batches == [["0.6 a", "0.6 vague"]]
    assert r.metrics.total("results", stage="fast") == 1
    assert r.metrics.total("results", stage="slow") == 2


async def test_a_stage_that_does_not_answer_in_time_sends_the_record_to_review() -> None:
    models = stages()
    async with rig(settings=CASCADE, models=models) as r:
        models["slow"].open.clear()
        await r.send("0.6 a", "0.95 b")
        await r.clock.advance(4.9)
        assert r.outcomes() == {}
        await r.clock.advance(0.2)
        assert r.sources("review") == [0]
        assert r.sources("labels") == [1]
        models["slow"].open.set()
        await r.clock.advance(10)
        await r.drain()
    assert r.sources("review") == [0], "what comes late is dropped"
    [review] = messages(r, "review")
    assert review["reasons"] == ["low_confidence", "deadline"]
    assert review["label"] == "yes"
    assert review["stages"][1]["reasons"] == ["deadline"]
    check_schemas(r, "review")
    assert r.committed() == 2


async def test_what_no_longer_fits_into_the_queue_of_a_stage_goes_to_review() -> None:
    models = stages()
    async with rig(settings=CASCADE, models=models) as r:
        models["slow"].open.clear()
        await r.send(*(f"0.6 t{n}" for n in range(5)))
        models["slow"].open.set()
        await r.clock.advance(1)
        await r.send("0.6 later")
        await r.drain()
    assert r.sources("labels") == [0, 1, 2, 5]
    assert r.sources("review") == [3, 4]
    reasons = {tuple(message["reasons"]) for message in messages(r, "review")}
    assert reasons == {("low_confidence", "stage_full")}


async def test_stages_with_other_labels_are_refused_until_they_are_mapped() -> None:
    models = {"fast": ScriptedClassifier(labels=LabelSet(("ham", "spam"))), "slow": Other()}
    with pytest.raises(ConfigError, match=r"cascade\[0\]\.labels: the labels of the stage are ham"):
        async with rig(settings=CASCADE, models=models):
            pass
    mapped = {"cascade": [{**CASCADE["cascade"][0]}, CASCADE["cascade"][1]]}
    mapped["cascade"][0]["labels"] = {"ham": "no", "spam": "yes"}
    async with rig(settings=mapped, models=models) as r:
        await r.send("0.9 a")
        await r.drain()
    [label] = messages(r, "labels")
    assert label["label"] == "yes"
    assert label["probabilities"] == pytest.approx({"no": 0.1, "yes": 0.9})


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ({"egg": "no"}, r"cascade\[0\]\.labels: egg: unknown label"),
        ({"ham": "yes", "spam": "yes"}, r"cascade\[0\]\.labels: two labels would have the same"),
    ],
)
async def test_a_mapping_that_cannot_be_is_refused(labels: dict[str, str], match: str) -> None:
    models = {"fast": ScriptedClassifier(labels=LabelSet(("ham", "spam"))), "slow": Other()}
    mapped = {"cascade": [{**CASCADE["cascade"][0], "labels": labels}, CASCADE["cascade"][1]]}
    with pytest.raises(ConfigError, match=match):
        async with rig(settings=mapped, models=models):
            pass


# ---- anything at once


def _random_settings(chance: random.Random) -> dict[str, Any]:
    stage = {"model": FAKE, "routing": SURE}
    cascade = [
        {"name": "fast", **stage},
        {
            "name": "slow",
            **stage,
            "deadline_s": chance.choice([None, 2.0]),
            "max_waiting_items": chance.choice([None, 2]),
        },
    ]
    tasks: dict[str, Any] = {
        "moderation": {"cascade": cascade},
        "topic": {**stage, "when": {"tasks": {"moderation": chance.choice(["yes", "no"])}}},
        "tone": stage,
    }
    return {"tasks": tasks, "batching": {"max_in_flight_items": 8}}


TEXTS = ["0.9 a", "0.6 b", "0.6 vague", "0.1 c", "0.9 poison"]


async def happen(r: Rig, models: dict[str, ScriptedClassifier], chance: random.Random) -> None:
    """Let one thing happen: a text, a model that stops or goes on, or a revoked partition."""
    action = chance.random()
    if action < 0.6:
        await r.send(chance.choice(TEXTS), partition=chance.randrange(2))
    elif action < 0.9:
        gate = models[chance.choice(list(models))].open
        gate.clear() if gate.is_set() else gate.set()
    elif not r.sink.commits_offsets:
        revoked = asyncio.create_task(r.source.revoke([TopicPartition("texts", 1)]))
        await r.clock.advance(20)
        await revoked
        await r.source.assign([TopicPartition("texts", 1)])
    await r.clock.advance(chance.choice([0.1, 1.0, 3.0]))


def outputs_by_task(r: Rig) -> Counter[tuple[str, int, int]]:
    """How many outputs there are by task, partition and offset."""
    return Counter(
        (
            (dict(outbound.headers)["streamlabel-task"] or b"").decode(),
            outbound.position.partition,
            outbound.position.offset,
        )
        for topic in ("labels", "review", "dead-letters")
        for outbound in r.broker.written(topic)
    )


@pytest.mark.parametrize("transactional", [False, True])
@pytest.mark.parametrize("seed", range(25))
async def test_no_task_loses_or_doubles_a_record_whatever_happens(
    seed: int, transactional: bool
) -> None:
    """Slow models, failures, deadlines, full queues and a revoked partition, at random."""
    chance = random.Random(seed)
    models: dict[str, ScriptedClassifier] = {
        "moderation/fast": ScriptedClassifier(),
        "moderation/slow": Other(),
        "topic": Immune(),
        "tone": ScriptedClassifier(),
    }
    settings = _random_settings(chance)
    async with rig(
        settings=settings, models=models, partitions=2, transactional=transactional
    ) as r:
        for _ in range(30):
            await happen(r, models, chance)
        for model in models.values():
            model.open.set()
        await r.clock.advance(60)
        await settle()
        await r.drain()
        r.check_no_commit_passes_an_undelivered_record()
        places = {position[1:] for position in r.outcomes()}
        sent = {
            (partition, offset)
            for partition in range(2)
            for offset in range(len(r.broker.logs[TopicPartition("texts", partition)]))
        }
    assert places == sent
    written = outputs_by_task(r)
    for task in ("moderation", "tone"):
        for place in sent:
            count = written[task, *place]
            assert count == 1 or (count > 1 and not transactional), (task, place, count)
