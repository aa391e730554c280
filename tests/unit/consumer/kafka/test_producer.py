"""Outputs are split into batches that the topic takes, and refused ones are learned from."""

from hypothesis import given
from hypothesis import strategies as st

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import Position
from streamlabel.consumer.kafka.limits import SizeLimits, batches
from streamlabel.errors import RecordError

KAFKA = KafkaSettings(max_request_bytes=10_000)


def output(size: int, *, topic: str = "labels") -> Outbound:
    empty = Outbound(topic, None, b"", (), Position("texts", 0, 0))
    return Outbound(topic, None, b"x" * (size - empty.size_bytes), (), empty.position)


def test_the_smaller_of_request_and_topic_limit_holds() -> None:
    limits = SizeLimits(KAFKA, {"small": 2_000, "large": 1_000_000, "unknown": None})
    assert limits.record_bytes("small") == 2_000 - 128
    assert limits.record_bytes("large") == 10_000 - 128
    assert limits.record_bytes("unknown") == 10_000 - 128
    assert limits.record_bytes("never heard of") == 10_000 - 128


def test_a_record_of_exactly_the_limit_is_not_refused() -> None:
    limits = SizeLimits(KAFKA, {"labels": 2_000})
    size = limits.record_bytes("labels")
    sizes = [output(size - 1), output(size), output(size + 1)]
    assert list(limits.refused(sizes, range(3))) == [2]


@given(st.lists(st.tuples(st.sampled_from(["labels", "review"]), st.integers(50, 3_000))))
def test_batches_hold_all_outputs_once_in_order_within_the_limit(
    shape: list[tuple[str, int]],
) -> None:
    limits = SizeLimits(KAFKA, {"labels": 4_000, "review": 1_000})
    outputs = [output(size, topic=topic) for topic, size in shape]
    split = list(batches(outputs, range(len(outputs)), limits))
    for topic in ("labels", "review"):
        mine = [index for batch in split for index in batch if outputs[index].topic == topic]
        assert mine == [index for index, each in enumerate(outputs) if each.topic == topic]
    for batch in split:
        assert len({outputs[index].topic for index in batch}) == 1
        size = sum(outputs[index].size_bytes for index in batch)
        assert len(batch) == 1 or size <= limits.batch_bytes(outputs[batch[0]].topic)


def test_a_refused_batch_is_halved_down_to_the_one_record_that_is_too_large() -> None:
    limits = SizeLimits(KAFKA, {"labels": None})
    outputs = [output(1_000), output(3_000), output(1_000), output(1_000)]
    broker_takes, pending, attempts = 2_500, list(range(4)), 0
    refused = dict[int, RecordError]()
    while pending:
        attempts += 1
        refused |= limits.refused(outputs, pending)
        sendable = [index for index in pending if index not in refused]
        failed = [
            batch
            for batch in batches(outputs, sendable, limits)
            if sum(outputs[index].size_bytes for index in batch) > broker_takes
        ]
        if failed:
            limits.lower([outputs[index] for index in failed[0]])
        pending = [index for batch in failed for index in batch]
    assert list(refused) == [1]
    assert attempts <= 5
