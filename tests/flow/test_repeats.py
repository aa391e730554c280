"""Identical texts are classified once, and every record still has its own outcome."""

import asyncio
import gc
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlabel.config.settings import RepeatSettings
from streamlabel.consumer.batching.repeats import Repeats
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.plans.job import Reading
from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import Prediction, PreparedText
from tests.doubles import RecordingMetrics, settle
from tests.flow.rig import Rig, ScriptedClassifier, rig

P0, P1 = TopicPartition("texts", 0), TopicPartition("texts", 1)
ON = {"repeats": {"max_items": 100}}


def asked(r: Rig) -> list[str]:
    """Return the texts that the model was asked about, in order."""
    return [text for batch in r.classifier.batches for text in batch]


def written(r: Rig, topic: str = "labels") -> list[dict[str, Any]]:
    return [orjson.loads(outbound.value or b"") for outbound in r.broker.written(topic)]


async def test_a_text_that_comes_again_is_not_asked_about_again() -> None:
    async with rig(settings=ON) as r:
        await r.send("0.9 spam")
        await r.send("0.9 spam", "0.95 other")
        await r.send("0.9 spam")
        assert asked(r) == ["0.9 spam", "0.95 other"]
        outputs = written(r)
        assert [o["source"]["offset"] for o in outputs] == [0, 1, 2, 3]
        assert [o.get("cached", False) for o in outputs] == [False, True, False, True]
        assert [o["confidence"] for o in outputs] == [0.9, 0.9, 0.95, 0.9]
        assert [o["timings_ms"]["inference"] for o in outputs if o.get("cached")] == [0, 0]
        assert r.metrics.total("repeats") == 2


async def test_equal_texts_that_wait_together_are_computed_once() -> None:
    async with rig(settings=ON, partitions=2) as r:
        r.classifier.open.clear()
        await r.send("0.9 wave", "0.9 wave", "0.99 other")
        await r.send("0.9 wave", partition=1)
        assert written(r) == []
        r.classifier.open.set()
        await settle()
        assert Counter(asked(r)) == {"0.9 wave": 1, "0.99 other": 1}
        assert r.sources("labels", partition=0) == [0, 1, 2]
        assert r.sources("labels", partition=1) == [0]
        assert sum(o.get("cached", False) for o in written(r)) == 2


async def test_every_repeat_is_routed_by_its_own_record() -> None:
    """The audit draws by the id, so of equal texts some are drawn and some are not."""
    routing = {"threshold": 0.8, "audit_share": 0.5}
    async with rig(settings={**ON, "routing": routing, "audit": {"key": "k" * 16}}) as r:
        await r.send(*["0.9 wave"] * 40)
        assert len(written(r)) == 40
        assert 5 < len(written(r, "review")) < 35
        assert len(asked(r)) == 1


async def test_a_text_that_fails_fails_for_all_that_wait_and_is_tried_again_later() -> None:
    async with rig(settings=ON) as r:
        await r.send("poison", "poison", "0.9 good")
        assert r.sources("dead-letters") == [0, 1]
        assert r.sources("labels") == [2]
        before = asked(r).count("poison")
        await r.send("poison")
        assert asked(r).count("poison") > before
        assert r.sources("dead-letters") == [0, 1, 3]


class Refusing(ScriptedClassifier):
    """Refuses some texts before they get into a batch."""

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Refuse the question mark."""
        prepared = await super().prepare(texts)
        refusal = InferenceError("no words")
        return [refusal if text == "?" else p for text, p in zip(texts, prepared, strict=True)]


async def test_a_text_that_cannot_be_prepared_is_a_dead_letter_for_all() -> None:
    async with rig(settings=ON, classifier=Refusing()) as r:
        await r.send("?", "?", "0.9 good")
        assert r.sources("dead-letters") == [0, 1]
        assert r.sources("labels") == [2]
        await r.send("?")
        assert r.sources("dead-letters") == [0, 1, 3]


async def test_a_partition_that_is_lost_takes_no_other_partitions_result_with_it() -> None:
    """The text was submitted for partition 0, which is revoked while partition 1 waits for it."""
    async with rig(partitions=2, settings={**ON, "delivery": {"revoke_timeout_s": 1}}) as r:
        r.classifier.open.clear()
        await r.send("0.9 first")  # occupies the model
        await r.send("0.9 wave")
        await r.send("0.9 wave", partition=1)
        revoke = asyncio.create_task(r.source.revoke([P0]))
        await settle()
        await r.clock.advance(2)
        await revoke
        r.classifier.open.set()
        await settle()
        assert r.sources("labels", partition=1) == [0]
        assert r.sources("labels", partition=0) == []
        await r.source.assign([P0])
        await settle()
        assert r.sources("labels", partition=0) == [0, 1]
        r.check_no_commit_passes_an_undelivered_record()


async def test_a_text_that_only_a_lost_partition_waited_for_is_read_again() -> None:
    async with rig(partitions=2, settings={**ON, "delivery": {"revoke_timeout_s": 1}}) as r:
        r.classifier.open.clear()
        await r.send("0.9 first", partition=1)
        await r.send("0.9 wave")  # waits behind it
        revoke = asyncio.create_task(r.source.revoke([P0]))
        await settle()
        await r.clock.advance(2)
        await revoke
        await r.send("0.9 wave", partition=1)
        r.classifier.open.set()
        await settle()
        assert r.sources("labels", partition=1) == [0, 1]


async def test_no_more_results_are_kept_than_the_settings_say() -> None:
    async with rig(settings={"repeats": {"max_items": 2}}) as r:
        for text in ("0.9 a", "0.9 b", "0.9 a", "0.9 c", "0.9 a", "0.9 b"):
            await r.send(text)
        # b was the least recently used when c came
        assert asked(r) == ["0.9 a", "0.9 b", "0.9 c", "0.9 b"]


async def test_the_memory_for_results_is_bounded() -> None:
    async with rig(settings={"repeats": {"max_items": 1000, "max_bytes": 5000}}) as r:
        for number in range(20):
            await r.send(f"0.9 {number} " + "x" * 1000)
        await r.send("0.9 19 " + "x" * 1000)
        await r.send("0.9 0 " + "x" * 1000)
        assert len(asked(r)) == 21


@pytest.mark.parametrize("labels", [2, 50, 12_000])
def test_the_memory_really_is_what_the_settings_say(labels: int) -> None:
    """Counted by the interpreter, with as many probabilities as a large set of labels has."""
    limit = 4_000_000
    repeats = Repeats(RepeatSettings(max_bytes=limit), RecordingMetrics())

    def remember(number: int) -> None:
        reading = Reading()
        reading.text = f"{number} " + "x" * 300
        scores = tuple(number / (label + 7) for label in range(labels))
        shares = tuple(number / (label + 9) for label in range(labels))
        repeats.ended([(reading, Prediction(shares, scores))])

    gc.collect()
    tracemalloc.start()
    try:
        for number in range(20_000_000 // (labels * 64 + 1000)):
            remember(number)
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert limit / 3 < used < limit * 1.1


async def test_the_model_is_not_asked_about_nothing() -> None:
    async with rig(settings=ON) as r:
        await r.send("0.9 a")
        await r.send("0.9 a", "0.9 a")
        assert r.classifier.prepared == [1]
        assert r.sources("labels") == [0, 1, 2]


async def test_nothing_is_kept_when_it_is_off() -> None:
    async with rig(settings={"repeats": {"max_items": 0}}) as r:
        await r.send("0.9 a", "0.9 a")
        await r.send("0.9 a")
        assert asked(r) == ["0.9 a"] * 3
        assert not any("cached" in output for output in written(r))
        assert r.metrics.total("repeats") == 0


async def test_texts_that_are_equal_for_the_model_alone_are_repeats() -> None:
    """The model reads NFC; the records keep what they had."""
    async with rig(settings={**ON, "input": {"normalise": "nfc"}}) as r:
        await r.send("0.5 caf\u00e9", "0.5 cafe\u0301")
        assert asked(r) == ["0.5 caf\u00e9"]
        assert [o["text"] for o in written(r, "review")] == ["0.5 caf\u00e9", "0.5 cafe\u0301"]


TEXTS = st.sampled_from(["0.9 a", "0.95 b", "0.6 unsure", "poison", "0.99 c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.lists(TEXTS, min_size=1, max_size=6), st.integers(0, 1)),
        st.tuples(st.just("close"), st.just(()), st.just(0)),
        st.tuples(st.just("open"), st.just(()), st.just(0)),
    ),
    max_size=12,
)


async def _outputs(steps: list[Any], max_items: int) -> dict[Any, list[Any]]:
    async with rig(partitions=2, settings={"repeats": {"max_items": max_items}}) as r:
        for step, texts, partition in steps:
            if step == "send":
                await r.send(*texts, partition=partition)
            elif step == "close":
                r.classifier.open.clear()
            else:
                r.classifier.open.set()
                await settle()
        r.classifier.open.set()
        await settle()
        await r.drain()
        r.check_no_commit_passes_an_undelivered_record()
        found: dict[Any, list[Any]] = {}
        for topic in ("labels", "review", "dead-letters"):
            for outbound in r.broker.written(topic):
                message = orjson.loads(outbound.value or b"") if topic != "dead-letters" else {}
                for varying in ("timings_ms", "processed_at", "cached"):
                    message.pop(varying, None)
                found.setdefault((topic, outbound.position.partition), []).append(
                    (outbound.position.offset, message)
                )
        return found


@pytest.mark.timeout(120)
@settings(max_examples=30, deadline=None)
@given(steps=STEPS, max_items=st.sampled_from([1, 2, 100]))
def test_what_comes_out_is_what_comes_out_without(steps: list[Any], max_items: int) -> None:
    expected = asyncio.run(_outputs(steps, 0))
    assert asyncio.run(_outputs(steps, max_items)) == expected
