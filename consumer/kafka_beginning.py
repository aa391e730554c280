"""Where reading a partition begins: the committed offset, or what the settings say without one."""

from typing import Literal

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.kafka_errors import mapped
from streamlabel.errors import BrokerError

__all__ = ["Beginning"]

_log = structlog.get_logger(__name__)


class Beginning:
    """Finds offsets to begin at; aiokafka itself is told to jump nowhere."""

    def __init__(self, consumer: AIOKafkaConsumer, source: InputSettings, *, group: str) -> None:
        self._consumer = consumer
        self._source = source
        self._group = group

    async def first_offset(self, partition: KafkaPartition) -> int:
        """Return the group's next offset, else the edge that ``input.start_at`` names."""
        committed = await self._consumer.committed(partition)
        if committed is not None:
            return int(committed)
        offset = await self._edge(partition, self._source.start_at)
        if self._source.start_at == "latest":
            # Without this a restart before the first commit would skip what came in between.
            await self._consumer.commit({partition: offset})
        return offset

    async def instead_of(self, partition: KafkaPartition, offset: int) -> int:
        """Return where to go on when ``offset`` is out of range.

        Raises:
            BrokerError: not retriable: ``input.out_of_range`` says stop.
        """
        name = f"{partition.topic}-{partition.partition}"
        policy = self._source.out_of_range
        if policy == "stop":
            raise BrokerError(
                f"{name}: offset {offset} does not exist (any more): records were deleted before"
                " they were read. Set input.out_of_range to earliest or latest to go on, or reset"
                f" the group {self._group}"
            )
        with mapped(f"looking for the {policy} offset of {name}"):
            target = await self._edge(partition, policy)
        _log.warning("offset_out_of_range", partition=name, wanted=offset, now=target)
        return target

    async def _edge(self, partition: KafkaPartition, side: Literal["earliest", "latest"]) -> int:
        consumer = self._consumer
        look = consumer.beginning_offsets if side == "earliest" else consumer.end_offsets
        return int((await look([partition]))[partition])
