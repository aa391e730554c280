"""One assigned input partition: its order, its offsets, and its one delivery at a time."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from streamlabel.config.settings import DeliverySettings
from streamlabel.consumer.guard import DeadLetterGuard
from streamlabel.consumer.offsets import OffsetTracker, Release, Slot
from streamlabel.consumer.outcomes import Composer, Outcome
from streamlabel.consumer.ports import Clock, Metrics, Outbound, RecordSink
from streamlabel.consumer.records import SourceRecord, TopicPartition
from streamlabel.errors import BrokerError, OutputRefusedError

__all__ = ["Lane"]

# One delivery is one round trip (and one transaction with exactly once): enough records to make
# it cheap, few enough that the outputs of one delivery stay in the megabytes.
_MAX_RELEASE_ITEMS = 1000
_FIRST_BACKOFF_S = 0.1
_LONGEST_BACKOFF_S = 5.0

_log = structlog.get_logger(__name__)

_Write = tuple[Outbound, SourceRecord]


class Lane:
    """Takes finished records in any order, delivers their outputs in input order.

    What finishes while a delivery is under way is the next delivery, so deliveries grow with load
    (group commit) and a retry can never overtake.

    Args:
        on_delivered: told about each release once it is acknowledged.

    Attributes:
        closed: the partition is gone; results that still come are late and dropped.
    """

    def __init__(
        self,
        partition: TopicPartition,
        *,
        sink: RecordSink,
        composer: Composer,
        guard: DeadLetterGuard,
        settings: DeliverySettings,
        clock: Clock,
        metrics: Metrics,
        on_delivered: Callable[[Release[Outcome]], None],
    ) -> None:
        self.partition = partition
        self.closed = False
        self.is_idle = asyncio.Event()
        self.is_idle.set()
        self._tracker: OffsetTracker[Outcome] = OffsetTracker()
        self._sink = sink
        self._composer = composer
        self._guard = guard
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._on_delivered = on_delivered
        self._wake = asyncio.Event()
        self._under_way: Release[Outcome] | None = None
        self._due_s = clock.now_s()  # of the next delivery

    def started(self, record: SourceRecord) -> Slot[Outcome]:
        """Note that ``record`` was read."""
        self.is_idle.clear()
        return self._tracker.started(record.position.offset, record.size_bytes)

    def finished(self, slot: Slot[Outcome], outcome: Outcome) -> None:
        """Note what became of the record of ``slot``."""
        slot.result = outcome
        self._wake.set()

    @property
    def committable(self) -> int | None:
        """The next offset to commit, if anything was delivered since the last commit."""
        return self._tracker.committable

    def committed(self, next_offset: int) -> None:
        """Note that the group stored ``next_offset``."""
        self._tracker.committed(next_offset)

    def close(self) -> tuple[int, int]:
        """Take no more results; return how many records and bytes were still in flight."""
        self.closed = True
        items, size_bytes = self._tracker.abandoned()
        if self._under_way is not None:
            items += len(self._under_way.results)
            size_bytes += self._under_way.size_bytes
            self._under_way = None
        self.is_idle.set()
        return items, size_bytes

    async def run(self) -> None:
        """Deliver until cancelled.

        Raises:
            BrokerError: not retriable, or retried for ``delivery_timeout_s`` in vain.
            PartitionLostError: exactly once only: what was delivered is known to the broker alone.
            DeadLetterGuardError: too many of these records are dead letters; they are not written.
        """
        while not self.closed:
            if (early_s := self._due_s - self._clock.now_s()) > 0:
                await self._clock.sleep(early_s)
            release = self._tracker.release(_MAX_RELEASE_ITEMS)
            if release is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            self._under_way = release
            for outcome in release.results:
                is_dead = outcome.route == "dead_letter"
                self._guard.judge(outcome.source.position, is_dead=is_dead)
            began_s = self._clock.now_s()
            if self._sink.commits_offsets:
                self._due_s = began_s + self._settings.transaction_interval_s
            await self._deliver(release)
            if self._under_way is not release:
                return  # closed meanwhile, and counted as dropped
            self._metrics.observe("delivery_seconds", self._clock.now_s() - began_s)
            self._under_way = None
            self._tracker.delivered(release)
            self._on_delivered(release)
            if self._tracker.in_flight == 0:
                self.is_idle.set()

    async def _deliver(self, release: Release[Outcome]) -> None:
        writes = [(write, o.source) for o in release.results for write in o.outbounds]
        pending = dict(enumerate(writes))  # what is still to be written, in order
        deadline_s = self._clock.now_s() + self._settings.delivery_timeout_s
        backoff_s = _FIRST_BACKOFF_S
        while pending or self._sink.commits_offsets:
            stage = self._stage(pending)
            try:
                outbounds = [pending[key][0] for key in stage]
                await self._sink.deliver(self.partition, outbounds, release.next_offset)
            except OutputRefusedError as error:
                self._replace_refused(pending, stage, error)
            except BrokerError as error:
                if not error.retriable:  # a lost partition among them
                    raise
                await self._back_off(error, backoff_s, deadline_s)
                backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)
            else:
                pending = {key: pending[key] for key in sorted(pending.keys() - stage)}
                if not pending:
                    return

    def _stage(self, pending: Mapping[int, _Write]) -> Sequence[int]:
        """Return what to write now: all, or dead letters behind the others.

        An output that is refused becomes a dead letter, which must not come behind those of
        younger records.
        """
        if self._sink.is_atomic:
            return list(pending)
        dead_letters = self._composer.dead_letter_topic
        first = [key for key, (write, _) in pending.items() if write.topic != dead_letters]
        return first or list(pending)

    def _replace_refused(
        self, pending: dict[int, _Write], stage: Sequence[int], error: OutputRefusedError
    ) -> None:
        """Put a dead letter in the place of each refused output; take out what is written."""
        for index, why in error.refused.items():
            write, source = pending[stage[index]]
            pending[stage[index]] = (self._composer.refused(source, write, why), source)
        for index in error.written:
            del pending[stage[index]]
        _log.warning("output_refused", partition=str(self.partition), outputs=len(error.refused))

    async def _back_off(self, error: BrokerError, backoff_s: float, deadline_s: float) -> None:
        if self._clock.now_s() + backoff_s > deadline_s:
            raise BrokerError(
                f"no delivery within {self._settings.delivery_timeout_s:g} s"
                f" (delivery.delivery_timeout_s); the last error: {error}"
            ) from error
        self._metrics.increment("delivery_retries")
        _log.warning(
            "delivery_retry",
            topic=self.partition.topic,
            partition=self.partition.partition,
            backoff_s=backoff_s,
            error=str(error),
        )
        await self._clock.sleep(backoff_s)
