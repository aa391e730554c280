"""Determines where to start reading a partition: does the I/O for the decisions of ``beginning``.

To be called after the partition's earlier owner is fenced and before anything is delivered: only
then may offsets be stored outside of a transaction, with both guarantees.
"""

import asyncio
from typing import Final

import structlog
from aiokafka import TopicPartition as KafkaPartition

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.core.joint_question import JointQuestion
from streamlabel.consumer.core.topic_identity import TopicIdentity
from streamlabel.consumer.delivery.start_position import (
    At,
    Edge,
    First,
    Policy,
    Stop,
    Stored,
    Wait,
    beginning,
)
from streamlabel.consumer.kafka.errors import mapped
from streamlabel.consumer.kafka.group_offsets import GroupOffsets
from streamlabel.errors import BrokerError

__all__ = ["StartOffsets", "recreated"]

_log = structlog.get_logger(__name__)

# Interval of checks for offsets that another member stores, and how many there are between
# warnings.
_WAIT_S: Final = 0.2
_MANY_WAITS: Final = 50


class StartOffsets:
    """Finds offsets to start at; aiokafka's own automatic reset is disabled."""

    def __init__(
        self, offsets: GroupOffsets, source: InputSettings, identity: TopicIdentity, *, group: str
    ) -> None:
        self._offsets = offsets
        self._policy = Policy(source.start_at, source.out_of_range)
        self._identity = identity
        self._group = group
        self._beyond: dict[KafkaPartition, int] = {}
        self._question = JointQuestion(self._all_stored)

    async def first_offset(self, partition: KafkaPartition) -> int:
        """Return the group's committed offset, else one according to the settings.

        Raises:
            BrokerError: not retriable: ``input.out_of_range`` is ``stop``.
        """
        number = partition.partition
        numbers = self._offsets.partitions() | {number}
        end = await self._end_if_beyond(partition)
        waits = 0
        while True:
            is_first = number == min(numbers)
            topic_id = self._identity.current
            choice = beginning(
                number,
                await self._stored(number),
                self._policy,
                topic_id=topic_id,
                was_recreated=self._identity.was_recreated,
                is_first=is_first,
                end=end,
            )
            if isinstance(choice, First):
                edges = await self._offsets.edges(numbers, choice.side)
                await self._offsets.store(edges, topic_id)
                _log.info("group_begins", at=choice.side, partitions=len(edges))
            elif isinstance(choice, Wait):
                waits += 1
                if waits % _MANY_WAITS == 0:
                    _log.warning("waiting_for_the_first_offsets", of_partition=min(numbers))
                await asyncio.sleep(_WAIT_S)
            else:
                break
        offset = await self._offset_of(partition, choice, end)
        self._beyond.pop(partition, None)
        return offset

    def is_beyond_the_end(self, partition: KafkaPartition, offset: int) -> None:
        """Note that ``offset``, the next to read, is beyond the end of the partition."""
        self._beyond[partition] = offset

    async def _end_if_beyond(self, partition: KafkaPartition) -> int | None:
        if partition not in self._beyond:
            return None
        end = await self._offsets.end(partition.partition)
        return end if end < self._beyond[partition] else None  # it has grown meanwhile

    async def _offset_of(
        self, partition: KafkaPartition, choice: At | Edge | Stop, end: int | None
    ) -> int:
        name = f"{partition.topic}-{partition.partition}"
        if isinstance(choice, At):
            return choice.offset
        if isinstance(choice, Stop):
            if choice.why == "recreated":
                raise recreated(self._offsets.topic, self._group)
            raise BrokerError(
                f"{name}: the group {self._group} has read beyond its end {end}: the brokers lost"
                " records, or the topic was recreated. Set input.out_of_range to earliest or"
                " latest to continue, or reset the group"
            )
        [offset] = (await self._offsets.edges([partition.partition], choice.side)).values()
        if choice.is_jump:
            await self._offsets.store({partition.partition: offset}, self._identity.current)
            _log.warning("offset_out_of_range", partition=name, now=offset, policy=choice.side)
        return offset

    async def _stored(self, number: int) -> dict[int, Stored]:
        """Return the stored offset of one partition; if there is none, those of all partitions."""
        return await self._offsets.stored([number]) or await self._question.answer()

    async def _all_stored(self) -> dict[int, Stored]:
        return await self._offsets.stored(self._offsets.partitions())

    async def instead_of(self, partition: KafkaPartition, offset: int) -> int | None:
        """Return where to continue if ``offset`` is out of range; None if it is not too old.

        Raises:
            BrokerError: not retriable: ``input.out_of_range`` is ``stop``.
        """
        name = f"{partition.topic}-{partition.partition}"
        with mapped(f"looking for the edges of {name}"):
            [first] = (await self._offsets.edges([partition.partition], "earliest")).values()
            if offset >= first:
                return None
            policy = self._policy.out_of_range
            if policy == "stop":
                raise BrokerError(
                    f"{name}: offset {offset} does not exist any more: records were deleted"
                    f" before they were read, the oldest one is now {first}. Set"
                    " input.out_of_range to earliest or latest to continue, or reset the group"
                    f" {self._group}"
                )
            [target] = (await self._offsets.edges([partition.partition], policy)).values()
        _log.warning("offset_out_of_range", partition=name, wanted=offset, now=target)
        return target


def recreated(topic: str, group: str) -> BrokerError:
    """Return the error that stops a service because the topic was recreated."""
    return BrokerError(
        f"the topic {topic} was deleted and created again: the offsets of the group {group} belong"
        " to the earlier one. Set input.out_of_range to earliest or latest to continue with the new"
        " one, or reset the group"
    )
