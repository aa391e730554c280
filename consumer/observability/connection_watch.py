"""Checks whether the brokers of source and sink answer; updates gauge, readiness and log."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Never

import structlog

from streamlabel.consumer.core.ports import BrokerRole, Clock, ReportsConnections
from streamlabel.consumer.observability.connectivity import Connectivity, Restored
from streamlabel.consumer.observability.telemetry import PrometheusMetrics

__all__ = ["watch_connections"]

_INTERVAL_S: Final = 1.0

_log = structlog.get_logger(__name__)


async def watch_connections(
    ports: Sequence[object],
    *,
    clock: Clock,
    metrics: PrometheusMetrics,
    seen: Callable[[tuple[BrokerRole, ...], float], None],
    cause: Callable[[], Awaitable[str | None]],
) -> Never:
    """Check once a second, until cancelled.

    Args:
        ports: source and sink; those without brokers are ignored.
        clock: measures how long an outage lasts.
        metrics: has the gauge ``kafka_connected``.
        seen: called with the roles without a broker and for how many seconds, for ``/readyz``.
        cause: called once per outage to find out why brokers cannot be reached; takes seconds.
    """
    async with asyncio.TaskGroup() as group:
        await _look(ports, clock, metrics, seen, lambda: group.create_task(_log_cause(cause)))
    raise AssertionError("the check runs until it is cancelled. This is a bug.")


async def _log_cause(cause: Callable[[], Awaitable[str | None]]) -> None:
    if (found := await cause()) is not None:
        _log.error("broker_lost_cause", cause=found)


async def _look(
    ports: Sequence[object],
    clock: Clock,
    metrics: PrometheusMetrics,
    seen: Callable[[tuple[BrokerRole, ...], float], None],
    ask_why: Callable[[], object],
) -> Never:
    asked = [port for port in ports if isinstance(port, ReportsConnections)]
    state = Connectivity(now_s=clock.now_s())
    while True:
        connected: dict[BrokerRole, bool] = {}
        for each in await asyncio.gather(*(port.connections() for port in asked)):
            connected |= each
        now_s = clock.now_s()
        change = state.saw(connected, now_s=now_s)
        metrics.forget("kafka_connected")  # of roles that need no broker now
        for role, is_up in connected.items():
            metrics.set("kafka_connected", float(is_up), role=role)
        seen(state.down, state.down_s(now_s))
        if isinstance(change, Restored):
            _log.info("broker_restored", roles=change.roles, lasted_s=round(change.lasted_s, 1))
        elif change is not None:
            _log.error("broker_lost", roles=change)
            ask_why()
        await clock.sleep(_INTERVAL_S)
