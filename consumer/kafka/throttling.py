"""How long brokers made us wait because a quota was exceeded.

A broker answers at once, says in the answer for how long it mutes the connection (KIP-219), and
aiokafka 0.14 does not look at that: it is noted here, so that operators see why nothing is faster.
"""

from collections import Counter
from typing import Any, Final, Never

from aiokafka.client import AIOKafkaClient

from streamlabel.consumer.core.ports import BrokerRole, Clock, Metrics

__all__ = ["note_throttling", "report_throttling", "watch_throttling"]

_REPORT_S: Final = 1.0

# Milliseconds that are not reported yet.
_waited: Final[Counter[BrokerRole]] = Counter()


def note_throttling(client: AIOKafkaClient, role: BrokerRole) -> None:
    """Note from now on what the answers to a client say about quotas."""
    send: Any = client.send

    async def noting(*request: object, **options: object) -> object:
        response = await send(*request, **options)
        waits_ms = getattr(response, "throttle_time_ms", 0)  # not all answers have it
        if waits_ms:
            _waited[role] += waits_ms
        return response

    client.send = noting


def report_throttling(metrics: Metrics) -> None:
    """Count what was noted since the last report."""
    for role, waited_ms in _waited.items():
        metrics.increment("kafka_throttled_seconds", waited_ms / 1000, role=role)
    _waited.clear()


async def watch_throttling(clock: Clock, metrics: Metrics) -> Never:
    """Report every second, until cancelled."""
    while True:
        await clock.sleep(_REPORT_S)
        report_throttling(metrics)
