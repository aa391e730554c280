"""Writes the outputs of one input partition to the sink until all of them are acknowledged."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from typing import Final, NoReturn

import structlog

from streamlabel.config.settings import DeliverySettings
from streamlabel.consumer.core.ports import Clock, Metrics, Outbound, RecordSink
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.delivery.offset_tracker import Release
from streamlabel.consumer.delivery.pace import Pace
from streamlabel.consumer.delivery.pending import Pending
from streamlabel.consumer.output.outcome import Outcome, Outcomes
from streamlabel.consumer.output.outcome_builder import OutcomeBuilder
from streamlabel.consumer.routing.dead_letter_guard import DeadLetterGuard
from streamlabel.errors import BrokerError, OutputRefusedError, PartlyDeliveredError, RecordError

__all__ = ["Deliverer", "delivery_pace"]

_FIRST_BACKOFF_S: Final = 0.1
_LONGEST_BACKOFF_S: Final = 5.0
# A delivery that is not acknowledged for this long is logged; then at growing intervals.
_FIRST_NOTICE_S: Final = 10.0
# Target duration of a delivery: far below the limits of a revoke or drain, far above its overhead.
_TARGET_S: Final = 2.0

_log = structlog.get_logger(__name__)


def delivery_pace(settings: DeliverySettings) -> Pace:
    """Return the initial pace of a partition: see ``Pace``."""
    if settings.guarantee == "exactly_once":
        # A transaction that takes longer than its timeout is lost as a whole.
        return Pace(target_s=min(_TARGET_S, settings.transaction_timeout_ms / 4000))
    return Pace(target_s=_TARGET_S)


class Deliverer:
    """Delivers one release at a time; retries outputs that failed, and none that is acknowledged.

    Args:
        guard: told about records that become dead letters because the broker refuses their outputs.
        owns: whether the partition is still assigned to us; asked before each delivery.
        pace: how much is delivered at once. It is kept for the next assignment of the partition.
    """

    def __init__(
        self,
        partition: TopicPartition,
        *,
        sink: RecordSink,
        outcome_builder: OutcomeBuilder,
        settings: DeliverySettings,
        clock: Clock,
        metrics: Metrics,
        guard: DeadLetterGuard,
        owns: Callable[[TopicPartition], Awaitable[bool]],
        pace: Pace,
    ) -> None:
        self._partition = partition
        self._sink = sink
        self._outcome_builder = outcome_builder
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._guard = guard
        self._owns = owns
        self._pace = pace
        self._progress_s = 0.0
        self._backoff_s = _FIRST_BACKOFF_S

    @property
    def limit_bytes(self) -> int:
        """Maximum bytes of outputs for the next release."""
        return self._pace.limit_bytes

    async def deliver(self, release: Release[Outcomes]) -> Release[Outcomes]:
        """Return when all outputs are acknowledged, and with exactly once the offset.

        Returns:
            The release as delivered; records whose output was refused are dead letters in it.

        Raises:
            BrokerError: not retriable, or nothing was acknowledged for ``delivery_timeout_s``.
            PartitionLostError: exactly once only.
            DeadLetterGuardError: too many outputs are refused.
        """
        pending = Pending(release.results)
        self._progressed()
        while pending or self._sink.commits_offsets:
            stage = self._stage(pending)
            try:
                await self._attempt(pending.outbounds(stage), release.next_offset)
            except OutputRefusedError as error:
                self._replace_refused(pending, stage, error)
            except BrokerError as error:
                if not error.retriable:  # a lost partition among them
                    raise
                if isinstance(error, PartlyDeliveredError) and error.written:
                    pending.take_out(stage, error.written)
                    self._progressed()
                await self._back_off(error)
            else:
                pending.take_out(stage, range(len(stage)))
                self._progressed()
                if not pending:
                    break
        return Release(pending.results, release.next_offset, release.size_bytes)

    async def _attempt(self, outbounds: Sequence[Outbound], next_offset: int) -> None:
        if not self._sink.commits_offsets and not await self._owns(self._partition):
            raise BrokerError("the group does not confirm the partition's assignment", True)
        size_bytes = sum(map(attrgetter("size_bytes"), outbounds))
        began_s = self._clock.now_s()
        try:
            await self._in_time(self._sink.deliver(self._partition, outbounds, next_offset))
        except OutputRefusedError:
            raise
        except BrokerError:
            self._pace.failed(size_bytes)
            raise
        self._pace.took(size_bytes, self._clock.now_s() - began_s)

    async def _in_time(self, delivering: Awaitable[None]) -> None:
        delivery = asyncio.ensure_future(delivering)
        watch = asyncio.ensure_future(self._watch())
        try:
            await asyncio.wait((delivery, watch), return_when=asyncio.FIRST_COMPLETED)
            if not delivery.done():
                watch.result()
        finally:
            for task in (watch, delivery):
                if not task.done():
                    task.cancel()
            await asyncio.gather(watch, delivery, return_exceptions=True)
        delivery.result()

    async def _watch(self) -> NoReturn:
        """Log that a delivery takes long, and raise when nothing was acknowledged for too long."""
        notice_s = _FIRST_NOTICE_S
        while (left_s := self._deadline_s - self._clock.now_s()) > 0:
            await self._clock.sleep(min(notice_s, left_s))
            waited_s = self._clock.now_s() - self._progress_s
            self._warn("delivery_waits", waited_s=round(waited_s, 1))
            notice_s *= 2
        raise self._too_late(BrokerError("the broker does not acknowledge"))

    def _stage(self, pending: Pending) -> Sequence[int]:
        """Return what to write now: everything, or as much as the pace allows, dead letters last.

        A refused output becomes a dead letter, which must precede those of later records.
        """
        if self._sink.is_atomic:
            return pending.all()
        dead_letters = self._outcome_builder.dead_letter_topic
        return pending.stage(room_bytes=self._pace.limit_bytes, last_topic=dead_letters)

    def _replace_refused(
        self, pending: Pending, stage: Sequence[int], error: OutputRefusedError
    ) -> None:
        """Replace each refused output by a dead letter; remove what is written."""
        pending.replace(stage, error.refused, self._dead_instead_of, written=error.written)
        self._progressed()  # the broker has answered
        first = next(iter(error.refused.values()))
        self._warn("output_refused", outputs=len(error.refused), why=str(first))

    def _dead_instead_of(self, outcome: Outcome, outbound: Outbound, why: RecordError) -> Outcome:
        dead = self._outcome_builder.refused(outcome, outbound, why)
        if outcome.route != "dead_letter":
            self._guard.refused(dead.source.position, cause=f"{dead.reason}: {dead.message}")
        return dead

    def _progressed(self) -> None:
        self._progress_s = self._clock.now_s()
        self._backoff_s = _FIRST_BACKOFF_S

    @property
    def _deadline_s(self) -> float:
        return self._progress_s + self._settings.delivery_timeout_s

    async def _back_off(self, error: BrokerError) -> None:
        if self._clock.now_s() + self._backoff_s > self._deadline_s:
            raise self._too_late(error) from error
        self._metrics.increment("delivery_retries")
        self._warn("delivery_retry", backoff_s=self._backoff_s, error=str(error))
        await self._clock.sleep(self._backoff_s)
        self._backoff_s = min(2 * self._backoff_s, _LONGEST_BACKOFF_S)

    def _too_late(self, error: BrokerError) -> BrokerError:
        return BrokerError(
            f"no delivery within {self._settings.delivery_timeout_s:g} s"
            f" (delivery.delivery_timeout_s); the last error: {error}"
        )

    def _warn(self, event: str, **fields: float | str) -> None:
        topic, partition = self._partition
        _log.warning(event, topic=topic, partition=partition, **fields)
