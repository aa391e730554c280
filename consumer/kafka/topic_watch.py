"""Detects that the input topic is missing, is back, or was deleted and created again."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from aiokafka import errors as kafka_errors
from aiokafka.client import AIOKafkaClient

from streamlabel.consumer.core.joint_question import JointQuestion
from streamlabel.consumer.core.topic_identity import TopicIdentity
from streamlabel.consumer.kafka.topic_id import find_topic_id

__all__ = ["TopicWatch"]

_log = structlog.get_logger(__name__)

# Interval of checks while the topic is missing, or aiokafka does not know it.
_MISSING_S: Final = 1.0


class TopicWatch:
    """Checks the topic's id at intervals.

    aiokafka identifies topics by name: in a topic that was deleted and created again between two
    metadata requests it continues at its position, and skips the records below. And it detects a
    topic that is back only with its next metadata.

    Args:
        every_s: interval of checks.
        on_another: called each time that the topic is found to be recreated.

    Attributes:
        identity: which topic the name refers to.
        is_missing: whether the topic was missing at the last check.
    """

    def __init__(
        self,
        client: AIOKafkaClient,
        topic: str,
        *,
        every_s: float,
        on_another: Callable[[], None],
    ) -> None:
        self.identity = TopicIdentity()
        self.is_missing = False
        self._client = client
        self._topic = topic
        self._every_s = every_s
        self._on_another = on_another
        self._question = JointQuestion(self.look)

    async def run(self) -> None:
        """Check until cancelled; while brokers do not answer, the last result remains valid."""
        waited_s = 0.0
        while True:
            step_s = min(_MISSING_S, self._every_s)
            await asyncio.sleep(step_s)
            waited_s += step_s
            if self._is_known() and not self.is_missing and waited_s < self._every_s:
                continue
            waited_s = 0.0
            try:
                await self.look()
            # Checks continue after an address that cannot be resolved, a reset or a timeout.
            except (kafka_errors.KafkaError, OSError, TimeoutError) as error:
                _log.debug("topic_look_failed", error=type(error).__name__)

    async def ask(self) -> str:
        """Return the topic's id as it is now.

        Raises:
            KafkaError: no answer, or the topic is missing.
        """
        await self._question.answer()
        if self.is_missing:
            raise kafka_errors.UnknownTopicOrPartitionError(self._topic)
        return self.identity.current

    async def look(self) -> bool:
        """Ask a broker; return whether the topic was found to be recreated.

        Raises:
            KafkaError: no answer.
        """
        before = self.identity.current
        topic_id = await find_topic_id(self._client, self._topic)
        self._note(is_missing=topic_id is None)
        if topic_id is None or not self.identity.saw(topic_id):
            return False
        _log.warning(
            "input_topic_recreated", topic=self._topic, earlier_id=before, topic_id=topic_id
        )
        self._on_another()
        return True

    def _note(self, *, is_missing: bool) -> None:
        if is_missing and not self.is_missing:
            _log.warning(
                "input_topic_missing", topic=self._topic, needs="the topic, and Describe on it"
            )
        elif self.is_missing and not is_missing:
            _log.warning("input_topic_back", topic=self._topic)
        if is_missing or self.is_missing or not self._is_known():
            self._client.force_metadata_update()
        self.is_missing = is_missing

    def _is_known(self) -> bool:
        """Whether aiokafka has seen the topic in its last metadata."""
        return self._client.cluster.partitions_for_topic(self._topic) is not None
