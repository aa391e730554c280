"""The partitions this process owns: their lanes, from assigned to revoked, and their commits."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import structlog

from streamlabel.config.settings import DeliverySettings
from streamlabel.consumer.lane import Lane
from streamlabel.consumer.ports import Clock, Metrics, RecordSink, RecordSource
from streamlabel.consumer.records import TopicPartition
from streamlabel.consumer.starting import until_reachable
from streamlabel.consumer.waiting import wait_all
from streamlabel.errors import BrokerError, PartitionLostError

__all__ = ["Assignment"]

_log = structlog.get_logger(__name__)


class Assignment:
    """Opens a lane per assigned partition, closes it when the partition goes.

    A lane is the epoch of a partition: one that was revoked and comes back gets a new lane, and
    what still finishes for the old one is dropped. Implements ``AssignmentListener``.

    Args:
        open_lane: makes the lane of a partition.
        on_dropped: told about a closed lane with the records and bytes that were in flight in it.
        settings: how long what is in flight may take when partitions are revoked, and how long a
            partition may be lost again and again without a delivery in between.

    Attributes:
        has_joined: the group has told us what we own, be it nothing.
    """

    def __init__(
        self,
        *,
        source: RecordSource,
        sink: RecordSink,
        open_lane: Callable[[TopicPartition], Lane],
        on_dropped: Callable[[Lane, int, int], None],
        settings: DeliverySettings,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._source = source
        self._sink = sink
        self._open_lane = open_lane
        self._on_dropped = on_dropped
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self.has_joined = False
        self._group: asyncio.TaskGroup | None = None
        self._lanes: dict[TopicPartition, Lane] = {}
        self._tasks: dict[Lane, asyncio.Task[None]] = {}
        self._restarting: set[asyncio.Task[None]] = set()
        self._lost_since_s: dict[TopicPartition, float] = {}
        self._stopped = False

    def __len__(self) -> int:
        return len(self._lanes)

    async def start(self, group: asyncio.TaskGroup, *, timeout_s: float | None) -> None:
        """Join the consumer group; lanes run in ``group``.

        Raises:
            BrokerError: not retriable, or no broker answers for ``timeout_s``.
        """
        self._group = group
        join = partial(self._source.start, self)
        await until_reachable(join, timeout_s=timeout_s, clock=self._clock)

    def lane(self, partition: TopicPartition) -> Lane | None:
        """Return the open lane of a partition, or None if it is not ours (any more)."""
        return self._lanes.get(partition)

    async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Open a lane for each partition."""
        gained = list(partitions)
        if self._group is None:
            raise AssertionError("assigned before start. This is a bug.")
        self.has_joined = True
        await self._sink.assigned(gained)
        if self._stopped:
            return  # nobody would end a lane that is opened now
        for partition in gained:
            lane = self._open_lane(partition)
            self._lanes[partition] = lane
            self._tasks[lane] = self._group.create_task(self._run(lane))
        self._count("partitions_assigned", gained, dropped=0)

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Finish what is in flight within the budget, commit it, drop the rest."""
        lanes = [self._lanes[partition] for partition in partitions if partition in self._lanes]
        if not lanes:
            return
        try:
            await wait_all(
                [lane.is_idle for lane in lanes], self._settings.revoke_timeout_s, self._clock
            )
        finally:  # also when the source waits no longer: no lane outlives its assignment
            dropped, ending = self._close(lanes)
        if ending:
            await asyncio.wait(ending)
        await self.commit(lanes)
        gone = [lane.partition for lane in lanes]
        for partition in gone:
            self._lost_since_s.pop(partition, None)
        await self._sink.revoked(gone)
        self._count("partitions_revoked", gone, dropped=dropped)

    def stop(self) -> None:
        """Deliver and open no more; nothing is dropped from the count of what is in flight."""
        self._stopped = True
        for task in (*self._tasks.values(), *self._restarting):
            task.cancel()

    async def commit(self, lanes: Sequence[Lane] | None = None) -> bool:
        """Commit what was delivered, of ``lanes`` or of all; return False if that is to be retried.

        Raises:
            BrokerError: not retriable.
        """
        if self._sink.commits_offsets:
            return True
        owned = list(self._lanes.values()) if lanes is None else lanes
        due = {lane: lane.committable for lane in owned}
        offsets = {lane.partition: offset for lane, offset in due.items() if offset is not None}
        if not offsets:
            return True
        try:
            await self._source.commit(offsets)
        except BrokerError as error:
            self._metrics.increment("commits", outcome="failed")
            if not error.retriable:
                raise
            _log.warning("commit_failed", partitions=len(offsets), error=str(error))
            return False
        self._metrics.increment("commits", outcome="ok")
        for lane, offset in due.items():
            if offset is not None:
                lane.committed(offset)
        return True

    async def _run(self, lane: Lane) -> None:
        try:
            await lane.run()
        except PartitionLostError as error:
            task = self._tasks.pop(lane, None)
            if task is None:
                return  # closed meanwhile: the partition is going away
            self._end_if_hopeless(lane, error)
            _log.warning("partition_restarted", error=str(error))
            self._close([lane])
            self._restarting.add(task)
            try:
                await self._source.restart(lane.partition)
            finally:
                self._restarting.discard(task)

    def _end_if_hopeless(self, lane: Lane, error: PartitionLostError) -> None:
        """Raise when nothing of a partition was delivered for as long as a delivery may take."""
        now_s, limit_s = self._clock.now_s(), self._settings.delivery_timeout_s
        if lane.committable is not None:  # it delivered something before it was lost
            self._lost_since_s.pop(lane.partition, None)
        since_s = self._lost_since_s.setdefault(lane.partition, now_s)
        if now_s - since_s > limit_s:
            raise BrokerError(
                f"no delivery within {limit_s:g} s (delivery.delivery_timeout_s), in spite of"
                f" beginning again; the last error: {error}"
            ) from error

    def _close(self, lanes: Sequence[Lane]) -> tuple[int, list[asyncio.Task[None]]]:
        """Stop lanes and forget their records, all at once and without waiting.

        Returns:
            How many records were dropped, and the lanes' tasks, which end soon.
        """
        dropped, ending = 0, []
        for lane in lanes:
            task = self._tasks.pop(lane, None)
            if task is not None:
                task.cancel()
                ending.append(task)
            items, size_bytes = lane.close()
            if self._lanes.get(lane.partition) is lane:
                del self._lanes[lane.partition]
            self._on_dropped(lane, items, size_bytes)
            if items:
                self._metrics.increment("discarded", items)
            dropped += items
        return dropped, ending

    def _count(self, event: str, partitions: Sequence[TopicPartition], *, dropped: int) -> None:
        self._metrics.increment("rebalances")
        self._metrics.set("assigned_partitions", len(self._lanes))
        numbers = sorted(partition.partition for partition in partitions)
        _log.info(event, partitions=numbers, dropped=dropped)
