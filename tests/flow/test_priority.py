"""Several input topics with weights, and partitions that do not hold up each other."""

from collections import Counter

import pytest

from streamlabel.consumer.core.records import Position, TopicPartition
from streamlabel.models.core.classifier import BatchHints
from tests.flow.rig import Rig, ScriptedClassifier, rig

TOPICS = {"topics": [{"name": "live", "weight": 3}, {"name": "bulk", "weight": 1}]}
# Small enough that the model, not the reader, sets the pace: only then there is anything to divide.
SMALL = {"max_in_flight_items": 40, "max_batch_items": 10}


def classified(r: Rig) -> list[Position]:
    """The records that have reached the outputs, in this order."""
    return [outbound.position for outbound in r.broker.written("labels")]


@pytest.mark.parametrize("transactional", [False, True])
async def test_topics_with_a_backlog_share_the_model_by_their_weights(transactional: bool) -> None:
    async with rig(
        partitions=2, transactional=transactional, settings={"input": TOPICS, "batching": SMALL}
    ) as r:
        r.classifier.open.clear()
        for topic in ("bulk", "live"):
            for partition in (0, 1):
                texts = (f"0.9 text {n}" for n in range(1000))
                await r.send(*texts, topic=topic, partition=partition)
        r.classifier.open.set()
        await r.clock.advance(60)
        done = classified(r)
        assert len(done) == 4000
        # Both have a backlog, and what was read before the second one had records has left.
        shared = Counter(position.topic for position in done[100:2100])
        assert shared["live"] / shared.total() == pytest.approx(0.75, abs=0.02)
        for topic in ("bulk", "live"):
            assert r.metrics.total("records_consumed", topic=topic) == 2000
            for partition in (0, 1):
                offsets = [each.offset for each in done if each[:2] == (topic, partition)]
                assert offsets == list(range(1000))  # strict order per partition


async def test_a_topic_without_a_backlog_leaves_its_share_to_the_other() -> None:
    async with rig(settings={"input": TOPICS, "batching": SMALL}) as r:
        await r.send(*(f"0.9 text {n}" for n in range(300)), topic="bulk")
        await r.clock.advance(60)
        assert [each.offset for each in classified(r)] == list(range(300))


@pytest.mark.parametrize("transactional", [False, True])
async def test_one_slow_text_in_one_partition_does_not_hold_up_the_others(
    transactional: bool,
) -> None:
    """Its partition has more records behind it than may be in flight."""
    model = ScriptedClassifier(hints=BatchHints(max_in_flight=3))
    async with rig(
        partitions=3, transactional=transactional, classifier=model, settings={"batching": SMALL}
    ) as r:
        slow = TopicPartition("texts", 0)
        r.sink.hold(slow)
        await r.send(*(f"0.9 text {n}" for n in range(500)), partition=0)
        await r.clock.advance(5)
        for partition in (1, 2):
            await r.send(*(f"0.9 text {n}" for n in range(100)), partition=partition)
        await r.clock.advance(60)
        assert len(r.sources("labels", 1)) == len(r.sources("labels", 2)) == 100
        assert r.sources("labels", 0) == []
        # what is being written does not count, up to as many again
        assert r.pipeline.in_flight.items <= 2 * SMALL["max_in_flight_items"]
        r.sink.release(slow)
        await r.clock.advance(60)
        assert r.sources("labels", 0) == list(range(500))
