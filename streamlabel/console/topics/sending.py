"""Verdicts leave the outbox for the topic, by one console at a time, in order."""

from collections.abc import Sequence
from typing import Final

import orjson
import structlog

from streamlabel.config.settings import Settings
from streamlabel.console.store.api import Outbox, OutboxRow
from streamlabel.console.topics.loops import Duty, now_of
from streamlabel.console.topics.verdict_encoder import VerdictEncoder
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.kafka.keyed_writer import KeyedWriter

__all__ = ["VerdictSender", "fitted"]

_log = structlog.get_logger(__name__)

_POLL_S: Final = 0.1
_BATCH_MESSAGES: Final = 200
# Left out of a verdict that the topic would refuse, largest first.
_LARGE: Final = ("raw_probabilities", "model_probabilities")


class VerdictSender(Duty):
    """Sends verdicts.

    A message is removed from the outbox after the topic has it. If the console dies between, it is
    sent again with the same key and value: readers of the compacted topic see no difference.

    Args:
        instance: id of the database: consoles of one database replace each other as writers.
    """

    def __init__(
        self, settings: Settings, outbox: Outbox, *, instance: str, holder: str, clock: Clock
    ) -> None:
        super().__init__("sender", outbox, holder=holder, clock=clock)
        self._outbox = outbox
        topic = settings.output.verdicts_topic
        name = f"{settings.kafka.group_id}/verdicts/{topic}/{instance}"
        self._writer = KeyedWriter(settings.kafka, topic, name=name)
        self._encoder = VerdictEncoder(settings.output, clock)

    async def _work(self) -> None:
        try:
            await self._writer.start()
            await self._encoder.prefetch()
            self._went_well()
            while await self._has_duty():
                rows = await self._outbox.take(limit=_BATCH_MESSAGES, now=now_of(self._clock))
                if rows:
                    await self._send(rows)
                else:
                    await self._clock.sleep(_POLL_S)
        except BaseException:
            await self._writer.close(at_once=True)
            raise
        await self._writer.close()

    async def _send(self, rows: Sequence[OutboxRow]) -> None:
        limit = self._writer.limit_bytes
        await self._writer.write(
            [self._encoder.keyed(row.key, fitted(row.value, limit)) for row in rows]
        )
        await self._outbox.sent(rows)
        _log.info("verdicts_sent", verdicts=len(rows))


def fitted(value: bytes | None, limit_bytes: int) -> bytes | None:
    """Return a verdict that the topic accepts: without probabilities if it is too large."""
    if value is None or len(value) <= limit_bytes:
        return value
    message = orjson.loads(value)
    for name in _LARGE:
        message[name] = None
        value = orjson.dumps(message)
        if len(value) <= limit_bytes:
            break
    _log.warning("verdict_shortened", size_bytes=len(value), limit_bytes=limit_bytes)
    return value
