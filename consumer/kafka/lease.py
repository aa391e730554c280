"""Until when this process is certainly a member of the group, without a request.

The coordinator waits ``session_timeout_ms`` after a heartbeat before it reassigns a member's
partitions. Here this time is counted from when an answered heartbeat was *sent*, so it never ends
later than the coordinator's. A process that was paused sees that it has expired as soon as it
continues, before it reads anything from the network.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from aiokafka.errors import GroupAuthorizationFailedError, KafkaError
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.kafka.aiokafka_internals.group import (
    Send,
    around_requests,
    send_heartbeat,
)
from streamlabel.consumer.kafka.errors import broker_error

__all__ = ["Lease"]

_OK: Final = 0
_REBALANCING: Final = 27  # members get this answer; their session continues
_HEARTBEAT_TIMEOUT_S: Final = 5.0
_NEVER: Final = float("-inf")


def _now_s() -> float:
    """Seconds of a clock that includes suspend, if the system has one."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class Lease:
    """Our membership, according to the responses of the group's coordinator.

    Args:
        kafka: three quarters of ``session_timeout_ms`` are used, because what is sent now must also
            arrive in time. A response counts as fresh for two heartbeat intervals.
        now_s: time that also advances while the process is paused or the machine suspended.
    """

    def __init__(self, kafka: KafkaSettings, *, now_s: Callable[[], float] = _now_s) -> None:
        self._valid_s = kafka.session_timeout_ms * 0.75 / 1000
        self._fresh_s = min(self._valid_s, 2 * kafka.heartbeat_interval_ms / 1000)
        self._now_s = now_s
        self._since_s = _NEVER
        self._coordinator: Any = None
        self._asking = asyncio.Lock()

    def follow(self, coordinator: Any) -> None:  # noqa: ANN401 aiokafka has no types
        """Note the responses to all later requests to aiokafka's coordinator."""

        async def noted(send: Send, request: object) -> object:
            sent_s = self._now_s()
            response = await send(request)
            if isinstance(request, HeartbeatRequest | SyncGroupRequest):
                self.answered(response.error_code, sent_s)
            return response

        around_requests(coordinator, noted)
        self._coordinator = coordinator

    def answered(self, error_code: int, sent_s: float) -> None:
        """Note the coordinator's response to a heartbeat, or at the end of a rebalance."""
        if error_code in {_OK, _REBALANCING}:
            self._since_s = max(self._since_s, sent_s)
        else:
            self._since_s = _NEVER

    def is_held(self) -> bool:
        """Whether no other member can own our partitions yet."""
        return self._now_s() - self._since_s < self._valid_s

    async def confirm(self) -> bool:
        """Return whether we are a member; sends a heartbeat if the last response is not fresh.

        Raises:
            BrokerError: not retriable: access to the group is denied.
        """
        if self._is_fresh():
            return True
        async with self._asking:  # one heartbeat for all callers
            if not self._is_fresh() and self._coordinator is not None:
                await self._ask()
        return self._is_fresh()

    def _is_fresh(self) -> bool:
        return self._now_s() - self._since_s < self._fresh_s

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(_HEARTBEAT_TIMEOUT_S):
                await send_heartbeat(self._coordinator)  # it also rejoins if it must
        except GroupAuthorizationFailedError as error:
            raise broker_error(error, "asking the group for our partitions") from error
        except (KafkaError, OSError, TimeoutError):
            return  # no response: the membership is not confirmed
