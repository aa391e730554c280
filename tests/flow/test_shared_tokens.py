"""Models that read texts in the same way: each text is prepared once, whoever asks about it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import BatchHints, PreparedText
from tests.flow.rig import Rig, ScriptedClassifier, rig
from tests.flow.test_several_models import CASCADE, TWO, Immune, Other, messages

ALIKE = BatchHints(prepared_by="bert")


def prepared(r: Rig, *models: ScriptedClassifier) -> int:
    return sum(sum(model.prepared) for model in models)


@dataclass
class Refusing(ScriptedClassifier):
    """Its tokenizer refuses a text, as a faulty one would."""

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Refuse what says so."""
        found = await super().prepare(texts)
        refusal = InferenceError("the tokenizer refuses this text")
        return [refusal if "odd" in t else f for t, f in zip(texts, found, strict=True)]


@pytest.mark.parametrize(
    ("second", "times"),
    [(ALIKE, 4), (BatchHints(prepared_by="other"), 8), (BatchHints(), 8)],
)
async def test_tasks_that_read_alike_prepare_each_text_once(second: BatchHints, times: int) -> None:
    one, two = ScriptedClassifier(hints=ALIKE), Immune(hints=second)
    async with rig(settings=TWO, models={"moderation": one, "topic": two}) as r:
        await r.send("0.9 a", "0.8 b")
        await r.send("0.95 c", "0.85 d")
        await r.drain()
    assert prepared(r, one, two) == times
    assert r.sources("labels") == r.sources("topics") == [0, 1, 2, 3]
    assert sorted(text for batch in two.batches for text in batch) == [
        "0.8 b", "0.85 d", "0.9 a", "0.95 c",
    ]  # fmt: skip


async def test_models_without_a_digest_share_nothing() -> None:
    one, two = ScriptedClassifier(), Immune()
    async with rig(settings=TWO, models={"moderation": one, "topic": two}) as r:
        await r.send("0.9 a")
        await r.drain()
    assert prepared(r, one, two) == 2


async def test_a_stage_takes_what_the_stage_before_has_prepared() -> None:
    fast, slow = ScriptedClassifier(hints=ALIKE), Other(hints=ALIKE)
    async with rig(settings=CASCADE, models={"fast": fast, "slow": slow}) as r:
        await r.send("0.9 sure", "0.6 unsure")
        await r.drain()
    assert [sum(fast.prepared), sum(slow.prepared)] == [2, 0]
    assert [text for batch in slow.batches for text in batch] == ["0.6 unsure"]
    assert [m["stage"] for m in messages(r, "labels")] == ["fast", "slow"]


async def test_what_one_model_cannot_prepare_is_tried_by_the_other() -> None:
    one, two = Refusing(hints=ALIKE), Immune(hints=ALIKE)
    async with rig(settings=TWO, models={"moderation": one, "topic": two}) as r:
        await r.send("0.9 a", "0.9 odd", "0.9 c")
        await r.drain()
    assert r.sources("labels") == [0, 2]
    assert r.sources("topics") == [0, 1, 2]
    assert sum(two.prepared) == 1


async def test_who_waits_for_a_preparation_that_is_cancelled_prepares_for_itself() -> None:
    from streamlabel.consumer.batching.failure_isolation import FailureIsolation
    from streamlabel.consumer.batching.preparing import Preparing
    from streamlabel.consumer.plans.job import Job, Reading
    from tests.doubles import RecordingMetrics

    def reader(prepare: Callable[..., Any]) -> Preparing:
        model = ScriptedClassifier(hints=ALIKE)
        model.prepare = prepare  # type: ignore[method-assign]
        isolation = FailureIsolation(metrics=RecordingMetrics())
        return Preparing(model, isolation, shared=True)

    async def hangs(_texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        await asyncio.Event().wait()
        return []

    async def answers(texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        return [PreparedText(1, text) for text in texts]

    reading = Reading([Job(None, None, None)])  # type: ignore[arg-type]
    reading.text = "a"
    first = asyncio.create_task(reader(hangs).prepare([reading]))
    await asyncio.sleep(0)
    second = asyncio.create_task(reader(answers).prepare([reading]))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == [PreparedText(1, "a")]
