"""Where a partition begins, as the group's coordinator answers."""

from typing import Any

import pytest
from aiokafka import TopicPartition as KafkaPartition
from aiokafka import errors as kafka_errors
from aiokafka.protocol.commit import (
    OffsetFetchResponse_v1,
    OffsetFetchResponse_v3,
)

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.core.topic_identity import TopicIdentity
from streamlabel.consumer.kafka.group_offsets import GroupOffsets
from streamlabel.consumer.kafka.start_offsets import StartOffsets

P0 = KafkaPartition("texts", 0)
LOADING, NOT_COORDINATOR = 14, 16


class Coordinator:
    """Answers one request as the test says; a double of a class without interface."""

    def __init__(self, answer: object) -> None:
        self.is_dead = False
        self._answer = answer

    async def ensure_coordinator_known(self) -> None:
        """It is."""

    async def _send_req(self, _request: object) -> object:
        return self._answer

    def coordinator_dead(self) -> None:
        """Another broker must be asked."""
        self.is_dead = True


class Consumer:
    """Has a coordinator, and a partition that holds offsets 5 to 9."""

    def __init__(self, answer: object) -> None:
        self._coordinator = Coordinator(answer)

    def partitions_for_topic(self, _topic: str) -> set[int]:
        """One partition."""
        return {0}

    async def beginning_offsets(self, _partitions: list[KafkaPartition]) -> dict[Any, int]:
        """The oldest."""
        return {P0: 5}


def beginning(answer: object) -> tuple[StartOffsets, Coordinator]:
    consumer = Consumer(answer)
    offsets = GroupOffsets(consumer, group="g", topic="texts")
    begin = StartOffsets(offsets, InputSettings(), TopicIdentity(), group="g")
    return begin, consumer._coordinator


async def test_reading_begins_at_the_offset_of_the_group() -> None:
    begin, _ = beginning(OffsetFetchResponse_v3(0, [("texts", [(0, 7, "", 0)])], 0))
    assert await begin.first_offset(P0) == 7


async def test_a_group_without_an_offset_begins_at_the_edge() -> None:
    begin, _ = beginning(OffsetFetchResponse_v3(0, [("texts", [(0, -1, "", 0)])], 0))
    assert await begin.first_offset(P0) == 5


@pytest.mark.parametrize(
    ("code", "error", "is_dead"),
    [
        (LOADING, kafka_errors.GroupLoadInProgressError, False),
        (NOT_COORDINATOR, kafka_errors.NotCoordinatorForGroupError, True),
    ],
)
@pytest.mark.parametrize("per_partition", [False, True])
async def test_a_coordinator_that_moves_is_asked_again_and_not_taken_for_an_empty_group(
    code: int, error: type[kafka_errors.KafkaError], is_dead: bool, per_partition: bool
) -> None:
    if per_partition:
        answer: object = OffsetFetchResponse_v1([("texts", [(0, -1, "", code)])])
    else:
        answer = OffsetFetchResponse_v3(0, [], code)
    begin, coordinator = beginning(answer)
    with pytest.raises(error) as caught:
        await begin.first_offset(P0)
    assert caught.value.retriable
    assert coordinator.is_dead == is_dead


async def test_an_answer_without_the_partition_is_not_taken_for_an_empty_group() -> None:
    begin, _ = beginning(OffsetFetchResponse_v3(0, [], 0))
    with pytest.raises(kafka_errors.UnknownTopicOrPartitionError):
        await begin.first_offset(P0)
