"""Review records become items of the store, each once."""

from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from streamlabel.config.console import ConsoleSettings
from streamlabel.config.settings import Settings
from streamlabel.console.store.api import Intake, Outbox, Refused
from streamlabel.console.store.items import Arrival
from streamlabel.console.topics.appeals import appeal_of
from streamlabel.console.topics.decoding import decoded
from streamlabel.console.topics.loops import Duty, now_of
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.core.records import Position, SourceRecord, TopicPartition
from streamlabel.consumer.kafka.positioned_reader import PositionedReader
from streamlabel.consumer.output.appeal import AppealMessage
from streamlabel.consumer.output.output_reader import OutputReader

__all__ = ["ReviewReader"]

_log = structlog.get_logger(__name__)

_POLL_S: Final = 0.5
_BATCH_RECORDS: Final = 200


class _Store(Intake, Outbox, Protocol):
    """What the reader needs of the store."""


class ReviewReader(Duty):
    """Reads the review topics of the settings.

    Positions are stored with the items, in one transaction. So it does not matter whether the duty
    was lost meanwhile: what another console has stored is left out.
    """

    def __init__(self, settings: Settings, store: _Store, *, holder: str, clock: Clock) -> None:
        super().__init__("reader", store, holder=holder, clock=clock)
        self._settings = settings
        self._store = store
        self._outputs = OutputReader(settings.output, clock)
        self._appeals = settings.console.appeals_topic
        own = () if self._appeals is None else (self._appeals,)
        self._topics = (*settings.review_topics, *own)

    async def _work(self) -> None:
        positions = dict(await self._store.positions())
        reader = PositionedReader(self._settings.kafka, self._topics, self._clock)
        try:
            for moved in await reader.start(positions):
                _log.warning("review_position_gone", **moved._asdict())
                await self._store.reset_position(
                    moved.partition, moved.after, why=moved.why, now=now_of(self._clock)
                )
                positions[moved.partition] = moved.after
            self._went_well()
            while await self._has_duty():
                records = await reader.read(timeout_s=_POLL_S, max_records=_BATCH_RECORDS)
                if records:
                    await self._arrive(records, positions)
        finally:
            await reader.close()

    async def _arrive(
        self, records: Sequence[SourceRecord], positions: dict[TopicPartition, int]
    ) -> None:
        reviews = [each for each in records if each.position.topic != self._appeals]
        plain = await self._outputs.plain(reviews)  # appeals come from outside, as JSON
        arrivals, refused = sorted_out(plain, self._settings.console)
        appeals, unfit = self._appeals_in(records)
        refused += unfit
        end = {each.position.topic_partition: each.position.offset + 1 for each in records}
        begin = {each: positions[each] for each in end if each in positions}
        new = await self._store.arrive(
            arrivals, refused, appeals=appeals, begin=begin, end=end, now=now_of(self._clock)
        )
        positions.update(end)
        for refusal in refused:
            _log.warning(
                "review_record_refused",
                position=str(refusal.position),
                reason=refusal.reason,
                why=refusal.detail,
            )
        _log.info("review_records", records=len(records), new=new, refused=len(refused))

    def _appeals_in(
        self, records: Sequence[SourceRecord]
    ) -> tuple[list[tuple[Position, AppealMessage, Arrival | None]], list[Refused]]:
        appeals: list[tuple[Position, AppealMessage, Arrival | None]] = []
        refused: list[Refused] = []
        for record in records:
            if record.position.topic != self._appeals:
                continue
            found = appeal_of(record, self._settings.console)
            if isinstance(found, Refused):
                refused.append(found)
            else:
                appeals.append((record.position, *found))
        return appeals, refused


def sorted_out(
    records: Sequence[SourceRecord], settings: ConsoleSettings
) -> tuple[list[tuple[Position, Arrival]], list[Refused]]:
    """Return what can become items, and what cannot."""
    arrivals: list[tuple[Position, Arrival]] = []
    refused: list[Refused] = []
    for record in records:
        found = decoded(record, settings)
        if isinstance(found, Refused):
            refused.append(found)
        else:
            arrivals.append((record.position, found))
    return arrivals, refused
