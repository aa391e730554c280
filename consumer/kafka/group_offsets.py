"""The offsets that a group has stored for a topic, and the first and last ones of its partitions.

Sends its own requests where the consumer of aiokafka 0.14.0 does not suffice: ``committed`` returns
None also while the coordinator moves or loads, because it ignores the error of the whole response;
``commit`` refuses partitions of other members; ``end_offsets`` is the end of committed records
only.
"""

from collections.abc import Iterable, Mapping

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka import errors as kafka_errors
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import OffsetAndMetadata

from streamlabel.consumer.delivery.start_position import Side, Stored
from streamlabel.consumer.delivery.time_range import Mark
from streamlabel.consumer.kafka.aiokafka_internals.group import (
    ask_coordinator,
    client_of,
    coordinator_of,
    store_for_others,
)

__all__ = ["GroupOffsets"]

_NO_OFFSET = -1  # in a response: the group has stored none for this partition
_END = -1  # in a request
_READ_UNCOMMITTED = 0
_ELSEWHERE = (
    kafka_errors.GroupCoordinatorNotAvailableError,
    kafka_errors.NotCoordinatorForGroupError,
)


class GroupOffsets:
    """The offsets of one group and one topic. Raises aiokafka's errors.

    Attributes:
        topic: its name.
    """

    def __init__(self, consumer: AIOKafkaConsumer, *, group: str, topic: str) -> None:
        self.topic = topic
        self._consumer = consumer
        self._group = group

    def partitions(self) -> frozenset[int]:
        """Numbers of all partitions, as last seen."""
        return frozenset(self._consumer.partitions_for_topic(self.topic) or ())

    async def stored(self, partitions: Iterable[int]) -> dict[int, Stored]:
        """Return the stored offsets, without those that the coordinator reports as absent."""
        wanted = sorted(partitions)
        coordinator = coordinator_of(self._consumer)
        await coordinator.ensure_coordinator_known()
        request = OffsetFetchRequest(self._group, [(self.topic, wanted)])
        response = await ask_coordinator(coordinator, request)
        answers = [entry for _, entries in response.topics for entry in entries]
        codes = [getattr(response, "error_code", 0), *(code for *_, code in answers)]
        for code in filter(None, codes):
            error = kafka_errors.for_code(code)
            if error in _ELSEWHERE:
                coordinator.coordinator_dead()
            raise error
        if len(answers) < len(wanted):
            raise kafka_errors.UnknownTopicOrPartitionError(self.topic)
        return {
            number: Stored(int(offset), (mark := Mark.of(metadata or "")).topic_id, mark)
            for number, offset, metadata, _ in answers
            if offset != _NO_OFFSET
        }

    async def store(self, offsets: Mapping[int, int], metadata: str) -> None:
        """Store offsets in one request: all or none, also of partitions of other members.

        ``metadata`` is the topic id, or a mark.
        """
        coordinator = coordinator_of(self._consumer)
        await coordinator.ensure_coordinator_known()
        await store_for_others(
            coordinator,
            {
                KafkaPartition(self.topic, number): OffsetAndMetadata(offset, metadata)
                for number, offset in offsets.items()
            },
        )

    async def edges(self, partitions: Iterable[int], side: Side) -> dict[int, int]:
        """Return the first offsets, or the ends of what can be read now."""
        look = (
            self._consumer.beginning_offsets if side == "earliest" else self._consumer.end_offsets
        )
        found = await look([KafkaPartition(self.topic, number) for number in partitions])
        return {partition.partition: int(offset) for partition, offset in found.items()}

    async def end(self, partition: int) -> int:
        """Return the end of a partition, open transactions included."""
        return await self._look(partition, _END)

    async def at(self, partition: int, time_ms: int) -> int:
        """Return the first offset with this time stamp or a later one; without one, the end.

        Records of open transactions count: they may become readable. aiokafka's
        ``offsets_for_times`` leaves them out, and with them committed records behind them.
        """
        found = await self._look(partition, time_ms)
        return await self.end(partition) if found == _NO_OFFSET else found

    async def _look(self, partition: int, time_ms: int) -> int:
        client = client_of(self._consumer)
        leader = client.cluster.leader_for_partition(KafkaPartition(self.topic, partition))
        if leader is None or leader == -1:
            raise kafka_errors.LeaderNotAvailableError(self.topic)
        request = OffsetRequest(-1, _READ_UNCOMMITTED, [(self.topic, [(partition, time_ms)])])
        response = await client.send(leader, request)
        [(_, [(_, code, *answer)])] = response.topics
        if code:
            raise kafka_errors.for_code(code)(self.topic)
        return int(answer[-1])
