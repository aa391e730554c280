"""Tasks whose models are computed together: one pass, and everything else stays of each task."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from streamlabel.consumer.core.records import TopicPartition
from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import ModelIdentity, Prediction, PreparedText
from streamlabel.models.core.joint import Head, HeadClassifier
from streamlabel.models.core.labels import LabelSet
from tests.doubles import settle
from tests.flow.rig import Rig, ScriptedClassifier, rig
from tests.flow.test_several_models import FAKE, SURE, TWO, happen, messages, outputs_by_task

HEADS = tuple(
    Head(LabelSet(labels), ModelIdentity(name, "fake", "cpu", "float32", name * 8))
    for name, labels in (("moderation", ("no", "yes")), ("topic", ("a", "b", "c")))
)


@dataclass
class Joint(ScriptedClassifier):
    """Answers for both tasks; ``half`` in a text: the second head has no usable answer."""

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Both answers in a row."""
        answers = await super().classify(prepared)
        return [
            self._both(str(text.payload), answer) if isinstance(answer, Prediction) else answer
            for text, answer in zip(prepared, answers, strict=True)
        ]

    @staticmethod
    def _both(text: str, first: Prediction) -> Prediction:
        nan = float("nan")
        second = (nan, nan, nan) if "half" in text else (0.05, 0.9, 0.05)
        both = (*(first.probabilities or ()), *second)
        return Prediction(both, both)


def joint() -> tuple[Joint, dict[str, Any]]:
    model = Joint()
    heads = {head.identity.name: HeadClassifier(model, HEADS, n) for n, head in enumerate(HEADS)}
    return model, heads


def read_by(model: Joint) -> list[str]:
    """All texts that were computed."""
    return [text for batch in model.batches for text in batch]


def labels(r: Rig, topic: str) -> list[tuple[int, str]]:
    return [(each["source"]["offset"], each["label"]) for each in messages(r, topic)]


@pytest.mark.parametrize("transactional", [False, True])
async def test_each_text_is_prepared_and_computed_once_for_both_tasks(transactional: bool) -> None:
    model, heads = joint()
    async with rig(settings=TWO, models=heads, transactional=transactional) as r:
        await r.send("0.9 a", "0.6 b")
        await r.drain()
    assert sorted(read_by(model)) == ["0.6 b", "0.9 a"]
    assert sum(model.prepared) == 2
    assert labels(r, "labels") == [(0, "yes")]
    assert labels(r, "topics") == [(0, "b"), (1, "b")]
    assert labels(r, "review") == [(1, "yes")], "the threshold of each task is its own"
    assert r.committed() == 2
    assert r.metrics.total("batches", deployment="moderation+topic") == len(model.batches)


async def test_a_task_that_waits_for_the_label_of_another_needs_no_second_pass() -> None:
    tasks = {
        "tasks": {
            **TWO["tasks"],
            "topic": {**TWO["tasks"]["topic"], "when": {"tasks": {"moderation": "yes"}}},
        }
    }
    model, heads = joint()
    async with rig(settings=tasks, models=heads) as r:
        await r.send("0.9 a", "0.1 b", "0.95 c")
        await r.drain()
    assert sorted(read_by(model)) == ["0.1 b", "0.9 a", "0.95 c"]
    assert labels(r, "topics") == [(0, "b"), (2, "b")]
    assert [place for place, _ in labels(r, "labels")] == [0, 1, 2]


async def test_repeats_are_remembered_for_both_tasks() -> None:
    model, heads = joint()
    async with rig(settings={**TWO, "repeats": {"max_items": 10}}, models=heads) as r:
        await r.send("0.9 a", "0.9 a")
        await r.send("0.9 a")
        await r.drain()
    assert read_by(model) == ["0.9 a"]
    for topic in ("labels", "topics"):
        assert [each.get("cached", False) for each in messages(r, topic)] == [False, True, True]


async def test_a_head_that_fails_is_the_dead_letter_of_its_task_alone() -> None:
    model, heads = joint()
    async with rig(settings=TWO, models=heads) as r:
        await r.send("0.9 a", "0.9 half", "0.9 c")
        await r.drain()
    assert r.sources("labels") == [0, 1, 2]
    assert r.sources("topics") == [0, 2]
    [dead] = r.broker.written("dead-letters")
    assert ("streamlabel-task", b"topic") in dead.headers
    assert ("streamlabel-error-reason", b"inference_error") in dead.headers
    assert len(model.batches) <= 3, "nothing is tried again"


async def test_a_text_that_fails_is_a_dead_letter_of_every_task_that_asked() -> None:
    _model, heads = joint()
    async with rig(settings=TWO, models=heads) as r:
        await r.send("0.9 a", "0.9 poison", "0.9 c")
        await r.clock.advance(30)
        await r.drain()
    assert r.sources("labels") == r.sources("topics") == [0, 2]
    tasks = {dict(each.headers)["streamlabel-task"] for each in r.broker.written("dead-letters")}
    assert tasks == {b"moderation", b"topic"}
    assert r.committed() == 3


async def test_a_task_gets_its_answer_although_the_other_does_not_apply() -> None:
    tasks = {
        "tasks": {
            "moderation": {"model": FAKE, "routing": SURE, "when": {"metadata": {"x": 1}}},
            "topic": TWO["tasks"]["topic"],
        }
    }
    model, heads = joint()
    async with rig(settings=tasks, models=heads) as r:
        await r.send_raw(
            orjson.dumps({"text": "0.9 a", "metadata": {"x": 1}}),
            orjson.dumps({"text": "0.9 b", "metadata": {"x": 2}}),
        )
        await r.drain()
    assert labels(r, "labels") == [(0, "yes")]
    assert labels(r, "topics") == [(0, "b"), (1, "b")]
    assert len(read_by(model)) == 2


async def test_one_task_gets_another_policy() -> None:
    _model, heads = joint()
    async with rig(settings=TWO, models=heads) as r:
        await r.send("0.85 a")
        r.pipeline.use(r.deployment.tightened(0.5))
        await r.send("0.85 b")
        await r.drain()
    assert r.deployment.id == "moderation"
    assert labels(r, "labels") == [(0, "yes")]
    assert labels(r, "review") == [(1, "yes")]
    assert [place for place, _ in labels(r, "topics")] == [0, 1]


async def test_a_revoked_partition_leaves_nothing_behind() -> None:
    model, heads = joint()
    async with rig(settings=TWO, models=heads, partitions=2) as r:
        model.open.clear()
        await r.send("0.9 a", partition=0)
        await r.send("0.9 b", partition=1)
        revoking = asyncio.create_task(r.source.revoke([TopicPartition("texts", 0)]))
        await r.clock.advance(60)
        await revoking
        model.open.set()
        await r.send("0.9 c", partition=1)
        await r.drain()
    assert r.sources("labels", 1) == r.sources("topics", 1) == [0, 1]
    assert r.sources("labels", 0) == []


@pytest.mark.parametrize("transactional", [False, True])
@pytest.mark.parametrize("seed", range(10))
async def test_no_task_loses_or_doubles_a_record_whatever_happens(
    seed: int, transactional: bool
) -> None:
    """A slow model, failures, waits for the other task, repeats, a revoked partition: at random."""
    chance = random.Random(seed)
    waits = {"when": {"tasks": {"moderation": ["yes", "no"]}}} if chance.random() < 0.5 else {}
    settings = {
        "tasks": {
            "moderation": {"model": FAKE, "routing": SURE},
            "topic": {"model": FAKE, "routing": SURE, **waits},
        },
        "repeats": {"max_items": chance.choice([0, 3])},
    }
    model, heads = joint()
    async with rig(settings=settings, models=heads, partitions=2, transactional=transactional) as r:
        for _ in range(30):
            await happen(r, {"joint": model}, chance)
        model.open.set()
        await r.clock.advance(60)
        await settle()
        await r.drain()
        r.check_no_commit_passes_an_undelivered_record()
        sent = [
            (partition, offset)
            for partition in range(2)
            for offset in range(len(r.broker.logs[TopicPartition("texts", partition)]))
        ]
    written = outputs_by_task(r)
    for task in ("moderation", "topic"):
        for place in sent:
            count = written[task, *place]
            is_skipped = count == 0 and bool(waits) and task == "topic"  # the other one failed
            assert count == 1 or is_skipped or (count > 1 and not transactional), (task, place)
