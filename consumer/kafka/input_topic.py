"""One input topic of a member: what it is, and where reading of its partitions begins."""

from collections.abc import Callable

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition

from streamlabel.config.kafka import InputSettings, KafkaSettings
from streamlabel.consumer.delivery.time_range import TimeRange
from streamlabel.consumer.kafka.aiokafka_internals.group import client_of
from streamlabel.consumer.kafka.group_offsets import GroupOffsets
from streamlabel.consumer.kafka.range_offsets import RangeOffsets
from streamlabel.consumer.kafka.start_offsets import StartOffsets
from streamlabel.consumer.kafka.topic_watch import TopicWatch

__all__ = ["InputTopic"]


class InputTopic:
    """Finds out where to begin, and watches whether the name still means the same topic.

    Args:
        consumer: started.
        name: of the topic.
        on_another: called with the name each time that the topic is found to be recreated.
        time_range: of a bounded run.

    Attributes:
        watch: tells the topic's id.
        start: tells where its partitions begin.
        range: of a bounded run: tells where they begin and end.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        name: str,
        *,
        kafka: KafkaSettings,
        source: InputSettings,
        on_another: Callable[[str], None],
        time_range: TimeRange | None = None,
    ) -> None:
        self.watch = TopicWatch(
            client_of(consumer),
            name,
            every_s=kafka.metadata_max_age_ms / 1000,
            on_another=lambda: on_another(name),
        )
        offsets = GroupOffsets(consumer, group=kafka.group_id, topic=name)
        identity = self.watch.identity
        self.start = StartOffsets(offsets, source, identity, group=kafka.group_id)
        self.range = (
            None
            if time_range is None
            else RangeOffsets(offsets, time_range, identity, group=kafka.group_id)
        )
        self._ids: dict[int, str] = {}  # as they were when reading began

    async def first_offset(self, partition: KafkaPartition) -> int:
        """Return where reading of a partition begins.

        Raises:
            BrokerError: not retriable: the settings say that the service stops instead.
            KafkaError: no answer, or the topic is missing.
        """
        topic_id = await self.watch.ask()
        offset = await (self.range or self.start).first_offset(partition)
        self._ids[partition.partition] = topic_id
        return offset

    def metadata(self, partition: int) -> str:
        """Return what to store with the offsets of a partition.

        The id of the topic that its records belong to, "" if not known: offsets are not valid for
        another topic of the same name. In a bounded run also the range.
        """
        if self.range is not None and partition in self._ids:
            return self.range.mark(partition).metadata
        return self._ids.get(partition, "")
