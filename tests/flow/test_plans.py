"""A plan says which deployments are asked; the pipeline delivers in order whatever it says."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import orjson
import pytest

from streamlabel.consumer.core.records import TextRecord, TopicPartition
from streamlabel.consumer.plans.job import Classified, Job, Result
from streamlabel.consumer.plans.plan import Ask, Done
from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import ModelIdentity, Prediction, PreparedText
from tests.doubles import settle
from tests.flow.rig import Rig, ScriptedClassifier, rig

P1 = TopicPartition("texts", 1)


class Cascade:
    """Asks ``large`` about what ``model`` is not sure of."""

    languages = None

    def start(self, record: TextRecord) -> Sequence[Ask]:
        """Ask the first stage."""
        return (Ask("model"),)

    def next(self, job: Job, result: Result) -> Sequence[Ask] | Done:
        """Ask the second stage if the first one has a reason."""
        is_first = result.deployment.id == "model"
        if is_first and isinstance(result, Classified) and result.decision.reasons:
            return (Ask("large"),)
        return Done((result,))


class Both:
    """Asks both at once, and takes what ``large`` says when both have answered."""

    languages = None

    def start(self, record: TextRecord) -> Sequence[Ask]:
        """Ask both."""
        return (Ask("model"), Ask("large"))

    def next(self, job: Job, result: Result) -> Sequence[Ask] | Done:
        """Wait for both."""
        return Done((job.results["large"],)) if len(job.results) == 2 else ()


@dataclass
class Large(ScriptedClassifier):
    """Is always sure."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.identity = ModelIdentity("large", "fake", "cpu", "float32", "e" * 8)

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Refuse texts that say that they are hard."""
        refusal = InferenceError("too hard")
        prepared = await super().prepare(texts)
        return [refusal if "hard" in text else p for text, p in zip(texts, prepared, strict=True)]

    @staticmethod
    def _answer(text: str) -> Prediction:
        return Prediction((0.97, 0.03))


def models(r: Rig) -> list[str]:
    """Names of the models that decided, in the order of the labels topic."""
    written = [orjson.loads(outbound.value or b"") for outbound in r.broker.written("labels")]
    return [message["model"]["name"] for message in written]


@pytest.mark.parametrize("transactional", [False, True])
async def test_a_cascade_asks_the_second_stage_about_the_unsure_ones(transactional: bool) -> None:
    large = Large()
    async with rig(plan=Cascade(), others={"large": large}, transactional=transactional) as r:
        large.open.clear()
        await r.send("0.95 sure", "0.6 unsure", "0.99 sure", "0.5 unsure")
        assert r.sources("labels") == [0], "what is sure waits for the unsure one before it"
        large.open.set()
        await r.clock.advance(1)
        assert r.sources("labels") == [0, 1, 2, 3]
        assert models(r) == ["scripted", "large", "scripted", "large"]
        assert [text for batch in large.batches for text in batch] == ["0.6 unsure", "0.5 unsure"]
        await r.drain()
    assert r.committed() == 4


async def test_a_text_that_a_later_stage_cannot_take_is_a_dead_letter() -> None:
    async with rig(plan=Cascade(), others={"large": Large()}) as r:
        await r.send("0.6 unsure", "0.5 hard", "0.95 hard for the second stage only")
        await r.clock.advance(1)
        await r.drain()
    assert r.sources("labels") == [0, 2]
    (dead,) = r.broker.written("dead-letters")
    assert dead.position.offset == 1
    assert ("streamlabel-error-reason", b"inference_error") in dead.headers


async def test_a_record_is_complete_when_all_that_were_asked_have_answered() -> None:
    large = Large()
    async with rig(plan=Both(), others={"large": large}) as r:
        r.classifier.open.clear()
        await r.send("0.6 a", "0.9 b")
        assert large.batches, "both are asked at the same time"
        assert r.sources("labels") == []
        r.classifier.open.set()
        await settle()
        assert models(r) == ["large", "large"]
        await r.drain()


async def test_a_drain_waits_for_every_stage() -> None:
    large = Large()
    async with rig(plan=Cascade(), others={"large": large}) as r:
        large.open.clear()
        await r.send("0.6 unsure")
        r.pipeline.drain()
        await r.clock.advance(5)
        assert not r.task.done()
        large.open.set()
        await r.drain()
    assert r.sources("labels") == [0]
    assert r.committed() == 1


async def test_what_a_lost_partition_asked_of_a_second_stage_comes_to_nothing() -> None:
    large = Large()
    settings = {"delivery": {"revoke_timeout_s": 0.1}}
    async with rig(partitions=2, plan=Cascade(), others={"large": large}, settings=settings) as r:
        large.open.clear()
        await r.send("0.6 gone", partition=1)
        await r.send("0.6 stays", partition=0)
        revoke = asyncio.create_task(r.source.revoke([P1]))
        await r.clock.advance(1)
        await revoke
        large.open.set()
        await r.clock.advance(1)
        assert [o.position.partition for o in r.broker.written("labels")] == [0]
        assert r.pipeline.in_flight.items == 0
        await r.drain()


async def test_another_policy_decides_from_the_next_result_on() -> None:
    async with rig() as r:
        await r.send("0.9 before")
        stricter = r.deployment.tightened(0.9)  # 0.8 becomes 0.98
        r.pipeline.use(stricter)
        await r.send("0.9 after")
        await r.drain()
    assert r.sources("labels") == [0]
    assert r.sources("review") == [1]
    (review,) = [orjson.loads(o.value or b"") for o in r.broker.written("review")]
    assert review["threshold"] == pytest.approx(0.98)
    assert review["model"]["threshold_set_id"] == stricter.policy.threshold_set_id is not None
    assert r.deployment.policy.thresholds == (0.8, 0.8)


async def test_another_model_does_not_take_the_place_of_one_that_runs() -> None:
    async with rig() as r:
        other = replace(r.deployment, classifier=Large())
        with pytest.raises(ValueError, match="runner of its own"):
            r.pipeline.use(other)
        await r.drain()
