"""The decoder of several input topics, each with settings of its own."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.core.records import SourceRecord, TextRecord

__all__ = ["TopicDecoder"]


class _Decoder(Protocol):
    async def prefetch(self, records: Sequence[SourceRecord]) -> None: ...

    def decode(self, record: SourceRecord) -> TextRecord: ...


class TopicDecoder:
    """Decodes each record as the settings of its topic say. Implements ``ValueDecoder``.

    Topics of one pattern share a decoder, and so its schemas.

    Args:
        settings: of the input.
        open_one: makes the decoder of one topic, or of a pattern.

    Raises:
        ConfigError: the decoder of another distribution cannot be created.
    """

    def __init__(
        self, settings: InputSettings, open_one: Callable[[InputSettings], _Decoder]
    ) -> None:
        self._settings = settings
        self._others = open_one(settings.model_copy(update={"topics": []}))
        self._by_title = {title: open_one(each) for title, each in settings.each}
        self._by_topic: dict[str, _Decoder] = {}

    async def prefetch(self, records: Sequence[SourceRecord]) -> None:
        """Fetch what the formats of these records need; all wait for what one of them needs.

        Raises:
            ConfigError: as the decoders do.
        """
        by_decoder: dict[_Decoder, list[SourceRecord]] = {}
        for record in records:
            by_decoder.setdefault(self._of(record), []).append(record)
        try:
            async with asyncio.TaskGroup() as group:
                for decoder, theirs in by_decoder.items():
                    group.create_task(decoder.prefetch(theirs))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    def decode(self, record: SourceRecord) -> TextRecord:
        """Return the text with its id, metadata and event time.

        Raises:
            DecodeError: with a reason of ``DeadLetterReason``.
        """
        return self._of(record).decode(record)

    def _of(self, record: SourceRecord) -> _Decoder:
        topic = record.position.topic
        found = self._by_topic.get(topic)
        if found is None:
            entry = self._settings.entry_of(topic)
            found = self._others if entry is None else self._by_title[entry.title]
            self._by_topic[topic] = found
        return found
