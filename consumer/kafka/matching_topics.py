"""Finds the topics that the patterns of ``input.topics`` match, when it starts and later on."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka import errors as kafka_errors

from streamlabel.config.kafka import InputSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.kafka.topics import topic_names
from streamlabel.errors import ConfigError

__all__ = ["MatchingTopics", "with_topics_found"]

_log = structlog.get_logger(__name__)


async def with_topics_found(settings: Settings) -> Settings:
    """Return the settings with the topics that patterns match now, for a command.

    Raises:
        BrokerError: no answer.
    """
    if not settings.input.has_patterns:
        return settings
    present = await topic_names(settings.kafka)
    found = settings.input.expanded(present, not_ours=settings.own_topics)
    return settings.model_copy(update={"input": found})


class MatchingTopics:
    """The input topics with their weights, as they are in the cluster.

    Args:
        settings: of the input.
        not_ours: topics that no pattern may match.

    Attributes:
        weights: of all input topics; those of patterns only after ``find``.
    """

    def __init__(self, settings: InputSettings, *, not_ours: Collection[str]) -> None:
        self._settings = settings
        self._not_ours = not_ours
        self.weights: Mapping[str, float] = settings.weights

    async def find(self, consumer: AIOKafkaConsumer) -> None:
        """Look which topics there are, if the settings have patterns.

        Raises:
            ConfigError: there is no input topic at all.
            KafkaError: no answer.
        """
        if self._settings.has_patterns:
            self.weights = await self._look(consumer)
        if not self.weights:
            patterns = ", ".join(str(each.pattern) for each in self._settings.topics)
            raise ConfigError(
                f"input.topics: no topic matches {patterns}, or this user may not see it: create"
                " one, grant Describe, or correct the pattern"
            )

    async def follow(
        self,
        consumer: AIOKafkaConsumer,
        *,
        every_s: float,
        on_change: Callable[[], Awaitable[None]],
    ) -> None:
        """Look again and again, until cancelled; returns at once without patterns.

        If all topics are gone, the last ones remain: they may come back.

        Args:
            consumer: started.
            every_s: interval.
            on_change: awaited with new ``weights``.
        """
        while self._settings.has_patterns:
            await asyncio.sleep(every_s)
            try:
                found = await self._look(consumer)
            # as for the checks of one topic: brokers may be away for any time
            except (kafka_errors.KafkaError, OSError, TimeoutError) as error:
                _log.debug("topics_look_failed", error=type(error).__name__)
                continue
            before, now = set(self.weights), set(found)
            if not now or now == before:
                continue
            _log.info("input_topics_changed", new=sorted(now - before), gone=sorted(before - now))
            self.weights = found
            await on_change()

    async def _look(self, consumer: AIOKafkaConsumer) -> Mapping[str, float]:
        return self._settings.weights_of(await consumer.topics(), not_ours=self._not_ours)
