"""Where reading a partition begins: the committed offset, or what the settings say without one."""

from typing import Literal

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka import errors as kafka_errors
from aiokafka.protocol.commit import OffsetFetchRequest

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.kafka_errors import mapped
from streamlabel.errors import BrokerError

__all__ = ["Beginning"]

_log = structlog.get_logger(__name__)

_NO_OFFSET = -1  # in an answer: the group has none for this partition
_ELSEWHERE = (
    kafka_errors.GroupCoordinatorNotAvailableError,
    kafka_errors.NotCoordinatorForGroupError,
)


class Beginning:
    """Finds offsets to begin at; aiokafka itself is told to jump nowhere."""

    def __init__(self, consumer: AIOKafkaConsumer, source: InputSettings, *, group: str) -> None:
        self._consumer = consumer
        self._source = source
        self._group = group

    async def first_offset(self, partition: KafkaPartition) -> int:
        """Return the group's next offset, else the edge that ``input.start_at`` names."""
        committed = await self._committed(partition)
        if committed is not None:
            return committed
        offset = await self._edge(partition, self._source.start_at)
        if self._source.start_at == "latest":
            # Without this a restart before the first commit would skip what came in between.
            await self._consumer.commit({partition: offset})
        return offset

    async def _committed(self, partition: KafkaPartition) -> int | None:
        """Return the group's next offset; None only if the coordinator says that it has none.

        ``committed`` of 0.14.0 also says None while the coordinator moves or loads: it overlooks
        the error of the whole answer, which then holds no partitions. Taken for "no offset" that
        would read everything again, or with ``start_at: latest`` skip what was not read.
        """
        coordinator = self._consumer._coordinator  # noqa: SLF001 see above
        await coordinator.ensure_coordinator_known()
        wanted = [(partition.topic, [partition.partition])]
        response = await coordinator._send_req(OffsetFetchRequest(self._group, wanted))  # noqa: SLF001 see above
        answers = [entry for _, entries in response.topics for entry in entries]
        codes = [getattr(response, "error_code", 0), *(code for *_, code in answers)]
        for code in filter(None, codes):
            error = kafka_errors.for_code(code)
            if error in _ELSEWHERE:
                coordinator.coordinator_dead()
            raise error
        if not answers:
            raise kafka_errors.UnknownTopicOrPartitionError(partition)
        [(_, offset, *_)] = answers
        return None if offset == _NO_OFFSET else int(offset)

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
