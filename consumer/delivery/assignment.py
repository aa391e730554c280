"""The partitions assigned to this process: their deliveries, and their commits."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import structlog

from streamlabel.config.settings import DeliverySettings
from streamlabel.consumer.core.ports import Clock, Metrics, RecordSink, RecordSource
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.core.starting import until_reachable
from streamlabel.consumer.core.waiting import wait_all
from streamlabel.consumer.delivery.partition_delivery import PartitionDelivery
from streamlabel.errors import BrokerError, PartitionLostError

__all__ = ["Assignment"]

_log = structlog.get_logger(__name__)


class Assignment:
    """Opens a delivery per assigned partition, and closes it when the partition is revoked.

    A partition that is revoked and assigned again gets a new delivery, and results that still
    arrive for the old one are dropped. Implements ``AssignmentListener``.

    Args:
        open_delivery: creates the delivery of a partition.
        on_dropped: called with a closed delivery, and its records and bytes in flight.
        settings: how long records in flight may take when partitions are revoked, and how long a
            partition may be lost repeatedly without a delivery in between.

    Attributes:
        deliveries: the open delivery of each assigned partition. Read-only.
        has_joined: the group has assigned us partitions, or none.
    """

    def __init__(
        self,
        *,
        source: RecordSource,
        sink: RecordSink,
        open_delivery: Callable[[TopicPartition], PartitionDelivery],
        on_dropped: Callable[[PartitionDelivery, int, int], None],
        settings: DeliverySettings,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._source = source
        self._sink = sink
        self._open_delivery = open_delivery
        self._on_dropped = on_dropped
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self.has_joined = False
        self._group: asyncio.TaskGroup | None = None
        self.deliveries: dict[TopicPartition, PartitionDelivery] = {}
        self._tasks: dict[PartitionDelivery, asyncio.Task[None]] = {}
        self._restarting: set[asyncio.Task[None]] = set()
        self._lost_since_s: dict[TopicPartition, float] = {}
        self._stopped = False

    def __len__(self) -> int:
        return len(self.deliveries)

    def finished(self) -> dict[TopicPartition, int]:
        """Return how many records of each partition are finished and not delivered."""
        return {partition: each.finished_items for partition, each in self.deliveries.items()}

    async def start(self, group: asyncio.TaskGroup, *, timeout_s: float | None) -> None:
        """Join the consumer group; deliveries run in ``group``.

        Raises:
            BrokerError: not retriable, or no broker answers for ``timeout_s``.
        """
        self._group = group
        join = partial(self._source.start, self)
        await until_reachable(join, timeout_s=timeout_s, clock=self._clock)

    async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Open a delivery for each partition."""
        gained = list(partitions)
        if self._group is None:
            raise AssertionError("assigned before start. This is a bug.")
        self.has_joined = True
        await self._sink.assigned(gained)
        if self._stopped:
            return  # a delivery that is opened now would never be closed
        for partition in gained:
            delivery = self._open_delivery(partition)
            running = self._run(delivery)
            try:
                self._tasks[delivery] = self._group.create_task(running)
            except RuntimeError:  # the group is ending with an error
                running.close()
                return
            self.deliveries[partition] = delivery
        self._count("partitions_assigned", gained, dropped=0)

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Finish what is in flight within the budget, commit it, drop the rest.

        A partition that already has a new owner is dropped at once: that one reads its records.
        """
        deliveries = [
            self.deliveries[partition] for partition in partitions if partition in self.deliveries
        ]
        if not deliveries:
            return
        try:
            kept = [
                delivery
                for delivery in deliveries
                if await self._source.still_owns(delivery.partition)
            ]
            await self._until_idle(kept, self._settings.revoke_timeout_s)
        finally:  # also if the source cancels this call: no delivery outlives its assignment
            dropped, ending = self._close(deliveries)
        if ending:
            await asyncio.wait(ending)
        await self.commit(deliveries)
        gone = [delivery.partition for delivery in deliveries]
        for partition in gone:
            self._lost_since_s.pop(partition, None)
        await self._sink.revoked(gone)
        self._count("partitions_revoked", gone, dropped=dropped)

    async def settle(self, timeout_s: float) -> None:
        """Commit offsets without records now instead of soon; for a drain."""
        await self._until_idle(list(self.deliveries.values()), timeout_s)

    async def _until_idle(self, deliveries: Sequence[PartitionDelivery], timeout_s: float) -> None:
        for delivery in deliveries:
            delivery.hurry()
        await wait_all([delivery.is_idle for delivery in deliveries], timeout_s, self._clock)

    def stop(self) -> None:
        """Stop all deliveries and open no more; their records still count as in flight."""
        self._stopped = True
        for task in (*self._tasks.values(), *self._restarting):
            task.cancel()

    async def commit(self, deliveries: Sequence[PartitionDelivery] | None = None) -> bool:
        """Commit the delivered offsets of these or of all; return False if it should be retried.

        Raises:
            BrokerError: not retriable.
        """
        if self._sink.commits_offsets:
            return True
        owned = list(self.deliveries.values()) if deliveries is None else deliveries
        for delivery in owned:
            delivery.settle()
        due = {delivery: delivery.committable for delivery in owned}
        offsets = {
            delivery.partition: offset for delivery, offset in due.items() if offset is not None
        }
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
        for delivery, offset in due.items():
            if offset is not None:
                delivery.committed(offset)
        return True

    async def _run(self, delivery: PartitionDelivery) -> None:
        try:
            await delivery.run()
        except PartitionLostError as error:
            task = self._tasks.pop(delivery, None)
            if task is None:
                return  # closed meanwhile: the partition is being revoked
            self._raise_if_stuck(delivery, error)
            _log.warning("partition_restarted", error=str(error))
            self._close([delivery])
            self._restarting.add(task)
            try:
                await self._source.restart(delivery.partition)
            finally:
                self._restarting.discard(task)

    def _raise_if_stuck(self, delivery: PartitionDelivery, error: PartitionLostError) -> None:
        """Raise if a partition delivered nothing for ``delivery_timeout_s`` in spite of restarts.

        Time in which no record waited does not count: after a failure whose transaction was
        complete there may be no new records for hours.
        """
        now_s, limit_s = self._clock.now_s(), self._settings.delivery_timeout_s
        if delivery.committable is not None:  # it delivered something before it was lost
            self._lost_since_s.pop(delivery.partition, None)
        since_s = min(now_s, self._lost_since_s.get(delivery.partition, now_s) + delivery.idle_s)
        self._lost_since_s[delivery.partition] = since_s
        if now_s - since_s > limit_s:
            raise BrokerError(
                f"no delivery within {limit_s:g} s (delivery.delivery_timeout_s), although the"
                f" partition was restarted; the last error: {error}"
            ) from error

    def _close(
        self, deliveries: Sequence[PartitionDelivery]
    ) -> tuple[int, list[asyncio.Task[None]]]:
        """Stop deliveries and drop their records, all at once and without waiting.

        Returns:
            How many records were dropped, and the deliveries' tasks, which end soon.
        """
        dropped, ending = 0, []
        for delivery in deliveries:
            task = self._tasks.pop(delivery, None)
            if task is not None:
                task.cancel()
                ending.append(task)
            items, size_bytes = delivery.close()
            if self.deliveries.get(delivery.partition) is delivery:
                del self.deliveries[delivery.partition]
            self._on_dropped(delivery, items, size_bytes)
            if items:
                self._metrics.increment("discarded", items)
            dropped += items
        return dropped, ending

    def _count(self, event: str, partitions: Sequence[TopicPartition], *, dropped: int) -> None:
        self._metrics.increment("rebalances")
        self._metrics.set("assigned_partitions", len(self.deliveries))
        numbers = sorted(partition.partition for partition in partitions)
        _log.info(event, partitions=numbers, dropped=dropped)
