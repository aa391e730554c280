"""What the console knows as metrics: audits that nobody has decided yet, from its database."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, Never

import structlog
from prometheus_client import CollectorRegistry

from streamlabel.console.store.api import Store
from streamlabel.console.store.items import AuditCount
from streamlabel.console.topics.loops import now_of
from streamlabel.consumer.core.metric_names import GaugeName
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.observability.metrics_server import gauges
from streamlabel.errors import StoreUnavailableError

__all__ = ["ConsoleMetrics"]

_log = structlog.get_logger(__name__)

_NAMES: Final[tuple[GaugeName, ...]] = ("audits_open", "audits_oldest_seconds", "audits_erased")
# Of scrapes; counting hundreds of thousands of items takes a tenth of a second.
_INTERVAL_S: Final = 15.0


class ConsoleMetrics:
    """The gauges, on a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._gauges = gauges(_NAMES, self.registry)

    def show(self, audits: Iterable[AuditCount], *, now: datetime) -> None:
        """Replace all series."""
        self.clear()
        for each in audits:
            task = each.task or ""
            opened, oldest, erased = (self._gauges[name] for name in _NAMES)
            opened.labels(age="in_time", task=task).set(each.open - each.overdue)
            opened.labels(age="overdue", task=task).set(each.overdue)
            oldest.labels(task=task).set(each.oldest_s(now=now))
            erased.labels(task=task).set(each.erased)

    def clear(self) -> None:
        """Remove all series: nothing is known."""
        for gauge in self._gauges.values():
            gauge.clear()

    async def follow(self, store: Store, *, clock: Clock) -> Never:
        """Show what the database has, without end; while it cannot be read, nothing."""
        problem = ""
        while True:
            now = now_of(clock)
            try:
                self.show((await store.counts(now=now)).audits, now=now)
                problem = ""
            except StoreUnavailableError as error:
                self.clear()
                if str(error) != problem:
                    problem = str(error)
                    _log.warning("console_metrics_interrupted", why=problem)
            await clock.sleep(_INTERVAL_S)
