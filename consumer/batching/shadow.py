"""A second model that gets a share of the same texts, and never delays or fails the first one.

    offer -> model -> write

It has a queue of its own. A text that does not fit is dropped and counted, and so is a result while
its topic does not accept any. Nothing is committed for it: after a crash its results may be missing
or written twice.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from streamlabel.config.settings import Settings
from streamlabel.consumer.batching.deployment_metrics import DeploymentMetrics
from streamlabel.consumer.batching.keyed_share import KeyedShare
from streamlabel.consumer.batching.model_runner import ModelRunner
from streamlabel.consumer.core.ports import Clock, Metrics, Outbound
from streamlabel.consumer.core.records import TextRecord
from streamlabel.consumer.delivery.offset_tracker import Slot
from streamlabel.consumer.output.outcome import Outcomes
from streamlabel.consumer.plans.deployment import Deployment
from streamlabel.consumer.plans.job import Classified, Job, Result
from streamlabel.errors import BrokerError

__all__ = ["Shadow"]

_BATCH_ITEMS: Final = 500
_BACKOFF_S: Final = 1.0

_log = structlog.get_logger(__name__)


class _Open:
    """Takes the place of a partition's delivery: nothing is delivered in order, or revoked."""

    closed = False

    def finished(self, slot: Slot[Outcomes], outcomes: Outcomes) -> None:
        """Never called: the outcome of a record is that of the first model."""


class Shadow:
    """Classifies a share of the texts with another model.

    Args:
        deployment: the model, its routing and its encoder.
        topic: where its results go.
        share: which texts it gets.
        max_waiting_items: texts and results that may wait in total.
        settings: for batches and repeats, as if this were the only model.
        write: writes outputs; may take any time.
        clock: of the service.
        metrics: count what was classified, failed and dropped.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        topic: str,
        share: KeyedShare,
        max_waiting_items: int,
        settings: Settings,
        write: Callable[[Sequence[Outbound]], Awaitable[None]],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._topic = topic
        self._share = share
        self._max_waiting_items = max_waiting_items
        self._write = write
        self._clock = clock
        self._metrics = metrics
        self._waiting = 0
        self._outbounds: deque[Outbound] = deque()
        self._has_outbounds = asyncio.Event()
        self._delivery = _Open()
        self._runner = ModelRunner(
            deployment,
            settings=settings,
            on_results=self._take,
            on_step=lambda: None,
            wants_work=asyncio.Event(),
            clock=clock,
            metrics=DeploymentMetrics(metrics, deployment.id),
        )

    def offer(self, record: TextRecord) -> None:
        """Take a text if it is in the share and fits into the queue. Never waits."""
        if not self._share.draws(record):
            return
        if self._waiting + len(self._outbounds) >= self._max_waiting_items:
            self._metrics.increment("shadow", outcome="dropped")
            return
        self._waiting += 1
        self._runner.submit([Job(record, self._delivery, Slot(0, 0))])

    async def run(self) -> None:
        """Classify and write until cancelled.

        Raises:
            StreamlabelError: it cannot go on; in an exception group.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._runner.run())
            group.create_task(self._write_all())

    def _take(self, results: Sequence[tuple[Job, Result]]) -> None:
        self._waiting -= len(results)
        for job, result in results:
            if not isinstance(result, Classified):
                self._metrics.increment("shadow", outcome="failed")
                continue
            self._outbounds.append(
                result.deployment.encoder.label(
                    job.record,
                    result.prediction,
                    result.decision,
                    result.timings,
                    topic=self._topic,
                )
            )
        self._has_outbounds.set()

    async def _write_all(self) -> None:
        while True:
            await self._has_outbounds.wait()
            self._has_outbounds.clear()
            while self._outbounds:
                batch = [*self._outbounds][:_BATCH_ITEMS]
                try:
                    await self._write(batch)
                except BrokerError as error:
                    _log.warning("shadow_write_failed", error=str(error))
                    self._metrics.increment("shadow", len(batch), outcome="dropped")
                    self._forget(len(batch))
                    await self._clock.sleep(_BACKOFF_S)
                else:
                    self._metrics.increment("shadow", len(batch), outcome="classified")
                    self._forget(len(batch))

    def _forget(self, items: int) -> None:
        for _ in range(items):
            self._outbounds.popleft()
