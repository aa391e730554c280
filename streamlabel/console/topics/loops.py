"""A duty that one console at a time has, done again after failures."""

from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from streamlabel.console.store.api import Outbox
from streamlabel.consumer.core.ports import Clock
from streamlabel.errors import (
    BrokerError,
    ConfigError,
    PositionsMovedError,
    StoreUnavailableError,
    StreamlabelError,
)

__all__ = ["Duty", "now_of"]

_log = structlog.get_logger(__name__)

# Another console takes over after this time if one dies.
_TTL_S: Final = 5.0
_RENEW_S: Final = 1.5
_AGAIN_S: Final = 1.0


def now_of(clock: Clock) -> datetime:
    """Return the time, aware and in UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=clock.epoch_ms())


class Duty(ABC):
    """Something that one console of a database does at a time.

    Args:
        name: of the duty.
        outbox: where consoles agree on who has it.
        holder: this console; unique.
        clock: the time.
    """

    def __init__(self, name: str, outbox: Outbox, *, holder: str, clock: Clock) -> None:
        self._name = name
        self._duties = outbox
        self._holder = holder
        self._clock = clock
        self._renewed_s = float("-inf")
        self._last_problem = ""

    async def run(self) -> None:
        """Do it, without end; a failure is logged once, and tried again."""
        while True:
            try:
                if await self._has_duty():
                    await self._work()
            except (BrokerError, ConfigError, PositionsMovedError, StoreUnavailableError) as error:
                self._report(error)
            finally:
                self._renewed_s = float("-inf")
            await self._clock.sleep(_AGAIN_S)

    @abstractmethod
    async def _work(self) -> None:
        """Do it while ``_has_duty``; return when it is lost."""

    async def _has_duty(self) -> bool:
        now_s = self._clock.now_s()
        if now_s - self._renewed_s < _RENEW_S:
            return True
        has = await self._duties.take_duty(
            self._name, holder=self._holder, ttl_s=_TTL_S, now=now_of(self._clock)
        )
        self._renewed_s = now_s if has else float("-inf")
        return has

    async def give_up(self) -> None:
        """Let another console take over at once."""
        await self._duties.drop_duty(self._name, holder=self._holder)

    def _report(self, error: StreamlabelError) -> None:
        if str(error) != self._last_problem:  # it may last for hours
            self._last_problem = str(error)
            _log.warning("console_duty_interrupted", duty=self._name, why=str(error))

    def _went_well(self) -> None:
        if self._last_problem:
            self._last_problem = ""
            _log.info("console_duty_resumed", duty=self._name)
