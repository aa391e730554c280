"""One assigned input partition: its order, its offsets, and its one delivery at a time."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter, itemgetter

from streamlabel.config.settings import DeliverySettings
from streamlabel.consumer.core.ports import Clock, Metrics
from streamlabel.consumer.core.records import SourceRecord, TopicPartition
from streamlabel.consumer.core.waiting import wait_all
from streamlabel.consumer.delivery.backlog_age import BacklogAge
from streamlabel.consumer.delivery.deliverer import Deliverer
from streamlabel.consumer.delivery.offset_tracker import OffsetTracker, Release, Slot
from streamlabel.consumer.output.outcome import Outcomes
from streamlabel.consumer.routing.dead_letter_guard import DeadLetterGuard

__all__ = ["PartitionDelivery"]

# One delivery is one round trip (and one transaction with exactly once): enough records to make
# it cheap, few enough that the outputs of one delivery stay in the megabytes.
_MAX_RELEASE_ITEMS = 1000
# exactly_once: how long offsets without records (markers, aborted ones) wait to be committed in the
# transaction of a record, before they get a transaction of their own. That has no outputs, so its
# markers are in the offsets topic only, and two services that read each other's outputs do not
# trigger each other for ever.
_PASSAGE_S = 5.0

_AT = attrgetter("position.offset")
_FIRST = itemgetter(0)
_OFFSET = attrgetter("source.position.offset")
_ROUTE = attrgetter("route")


class PartitionDelivery:
    """Takes finished records in any order, delivers their outputs in input order.

    Records that finish during a delivery form the next one, so deliveries grow with load (group
    commit), and a retry cannot change the order.

    Args:
        commits_offsets: as of the sink.
        deliverer: writes a release to the sink.
        on_writing: called with the number of records of each release before it is written.
        on_delivered: called with each release once it is acknowledged.

    Attributes:
        closed: the partition was revoked or lost; results that still arrive are dropped.
        finished_items: records that are finished and not delivered: they wait for an earlier one,
            or for the broker.
    """

    def __init__(
        self,
        partition: TopicPartition,
        *,
        commits_offsets: bool,
        deliverer: Deliverer,
        guard: DeadLetterGuard,
        settings: DeliverySettings,
        clock: Clock,
        metrics: Metrics,
        on_writing: Callable[[int], None],
        on_delivered: Callable[[Release[Outcomes]], None],
    ) -> None:
        self.partition = partition
        self.closed = False
        self.finished_items = 0
        self.is_idle = asyncio.Event()
        self.is_idle.set()
        self._tracker: OffsetTracker[Outcomes] = OffsetTracker()
        self._age = BacklogAge()
        self._commits_offsets = commits_offsets
        self._deliverer = deliverer
        self._guard = guard
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._on_writing = on_writing
        self._on_delivered = on_delivered
        self._wake = asyncio.Event()
        self._is_waiting = False  # for something to deliver
        self._under_way: Release[Outcomes] | None = None
        self._due_s = clock.now_s()  # of the next delivery
        self._passage_due_s: float | None = None  # of the next transaction without outputs
        self._idle_since_s = clock.now_s()
        self._was_idle_s = 0.0

    def started(self, records: Sequence[SourceRecord]) -> list[Slot[Outcomes]]:
        """Note that ``records``, one at least, were read; return the slot of each."""
        self._note_work()
        self._age.started(records[-1].position.offset, records[0].timestamp_ms)
        return self._tracker.started(zip(map(_AT, records), map(_size_bytes, records), strict=True))

    def finished(self, slot: Slot[Outcomes], outcomes: Outcomes) -> None:
        """Note the outcomes of the record of ``slot``."""
        if slot.result is None:
            self.finished_items += 1
        output_bytes = 0
        for outcome in outcomes:
            for outbound in outcome.outbounds:
                output_bytes += outbound.size_bytes
        slot.result, slot.output_bytes = outcomes, output_bytes
        if self._is_waiting:  # an event is set once for many records
            self._is_waiting = False
            self._wake.set()

    def passed(self, position: int) -> None:
        """Note that the source has read up to ``position``; see ``OffsetTracker.passed``."""
        self._tracker.passed(position)
        if self._commits_offsets and self._tracker.is_passage_due:
            if self._passage_due_s is None:
                self._passage_due_s = self._clock.now_s() + _PASSAGE_S
                self._wake.set()
        else:
            self._passage_due_s = None

    def hurry(self) -> None:
        """Commit offsets without records without waiting: the partition is about to be revoked."""
        if self._passage_due_s is not None and self._tracker.is_passage_due:
            self._passage_due_s = self._clock.now_s()
            self._note_work()
            self._wake.set()

    def settle(self) -> None:
        """Let ``committable`` follow offsets without records, if nothing is in flight."""
        passage = self._tracker.passage()
        if passage is not None:
            self._tracker.delivered(passage)

    @property
    def idle_s(self) -> float:
        """How long nothing was in flight, since the delivery was opened."""
        if not self.is_idle.is_set():
            return self._was_idle_s
        return self._was_idle_s + self._clock.now_s() - self._idle_since_s

    def age_ms(self, now_ms: int, lag: int) -> int | None:
        """Return how old the oldest record is that was not delivered; see ``BacklogAge``."""
        return self._age.age_ms(now_ms, lag=lag, in_flight=self._tracker.in_flight)

    @property
    def committable(self) -> int | None:
        """The next offset to commit, if anything was delivered since the last commit."""
        return self._tracker.committable

    def committed(self, next_offset: int) -> None:
        """Note that the group stored ``next_offset``."""
        self._tracker.committed(next_offset)

    def close(self) -> tuple[int, int]:
        """Accept no more results; return how many records and bytes were still in flight."""
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
            BrokerError: not retriable, or nothing was acknowledged for ``delivery_timeout_s``.
            PartitionLostError: exactly once only: only the broker knows what was committed.
            DeadLetterGuardError: too many of these records are dead letters; they are not written.
        """
        while not self.closed:
            if (early_s := self._due_s - self._clock.now_s()) > 0:
                await self._clock.sleep(early_s)
            release = self._tracker.release(
                _MAX_RELEASE_ITEMS, max_output_bytes=self._deliverer.limit_bytes
            )
            if release is None:
                self._wake.clear()
                self._is_waiting = True
                await self._until_woken()
                continue
            self._under_way = release
            self._judge(release)
            self._on_writing(len(release.results))
            began_s = self._clock.now_s()
            if self._commits_offsets:
                self._due_s = began_s + self._settings.transaction_interval_s
            delivered = await self._deliverer.deliver(release)
            if self._under_way is not release:
                return  # closed meanwhile; these records are counted as dropped
            self._metrics.observe("delivery_seconds", self._clock.now_s() - began_s)
            self._under_way = None
            self._tracker.delivered(release)
            self._age.delivered(release.next_offset)
            self.finished_items -= len(release.results)
            self._guard.delivered(self.partition, release.next_offset)
            self._on_delivered(delivered)
            self._note_if_idle()

    def _judge(self, release: Release[Outcomes]) -> None:
        """Tell the guard which records have dead letters, and stop if there are too many."""
        offsets = list(map(_OFFSET, map(_FIRST, release.results)))
        causes: dict[int, str] = {}
        # Both without a step of Python for each record: nearly all of them have no dead letter.
        if "dead_letter" in set(map(_ROUTE, chain.from_iterable(release.results))):
            for offset, outcomes in zip(offsets, release.results, strict=True):
                for outcome in outcomes:
                    if outcome.route == "dead_letter":
                        causes[offset] = f"{outcome.reason}: {outcome.message}"
        self._guard.judge(self.partition, offsets, causes)

    async def _until_woken(self) -> None:
        """Wait for something to deliver; meanwhile commit offsets without records when due."""
        due_s = self._passage_due_s
        wait_s = None if due_s is None else max(0.0, due_s - self._clock.now_s())
        if await wait_all([self._wake], wait_s, self._clock):
            return
        self._passage_due_s = None
        passage = self._tracker.passage()
        if passage is not None:
            await self._deliverer.deliver(passage)
            self._tracker.delivered(passage)
        self._note_if_idle()

    def _note_work(self) -> None:
        if self.is_idle.is_set():
            self._was_idle_s = self.idle_s
            self.is_idle.clear()

    def _note_if_idle(self) -> None:
        if self._tracker.in_flight == 0 and not self.is_idle.is_set():
            self._idle_since_s = self._clock.now_s()
            self.is_idle.set()


def _size_bytes(record: SourceRecord) -> int:
    size_bytes = len(record.key or b"") + len(record.value or b"")
    if record.headers:
        for name, header in record.headers:
            size_bytes += len(name) + len(header or b"")
    return size_bytes
