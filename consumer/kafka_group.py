"""Our membership in the consumer group: what a rebalance takes and gives, and in which order.

``on_partitions_assigned`` of aiokafka is no barrier (records come out while it runs), and while it
runs there are no heartbeats. So the callback only shuts the gate and starts one *admission* task
per partition: tell the listener, then read the committed offset. Exceptions in callbacks are
swallowed by aiokafka; here they are kept as ``failure`` for the next poll.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka import TopicPartition as KafkaPartition

from streamlabel.consumer.kafka_errors import broker_error, mapped
from streamlabel.consumer.kafka_gate import Gate
from streamlabel.consumer.ports import AssignmentListener
from streamlabel.consumer.records import TopicPartition
from streamlabel.errors import BrokerError

__all__ = ["Membership", "stop_consumer"]

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_RETRY_S = 1.0  # between two attempts to admit a partition
_STOP_TIMEOUT_S = 10.0
_OVERTIME_S = 5.0  # the listener keeps its own budget; this guards against one that does not


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Tells the listener about partitions, and the gate when they are ready.

    Args:
        listener: ``assigned`` is awaited per partition, for many at once; repeated while it raises
            a retriable BrokerError; cancelled if the partition is revoked meanwhile.
        first_offset: where reading begins, by the committed offset or the policy without one.
        pause: stops aiokafka from reading a partition.
        revoke_timeout_s: what ``listener.revoked`` may take.

    Attributes:
        failure: why this member cannot go on; None as long as it can.
    """

    def __init__(
        self,
        gate: Gate,
        listener: AssignmentListener,
        *,
        first_offset: Callable[[KafkaPartition], Awaitable[int]],
        pause: Callable[[KafkaPartition], None],
        revoke_timeout_s: float,
    ) -> None:
        self.failure: BrokerError | None = None
        self._gate = gate
        self._listener = listener
        self._first_offset = first_offset
        self._pause = pause
        self._revoke_timeout_s = revoke_timeout_s
        self._admissions: dict[KafkaPartition, asyncio.Task[None]] = {}

    async def on_partitions_assigned(self, assigned: Iterable[KafkaPartition]) -> None:
        """Shut the gate and start admitting; called by aiokafka."""
        gained = sorted(assigned)
        for partition in gained:
            self._gate.own(partition)
            self._pause(partition)
            self.start_admission(partition)
        if not gained:  # more members than partitions: the listener learns that it has joined
            try:
                await self._listener.assigned([])
            except Exception as error:  # noqa: BLE001 aiokafka would swallow it: raised by poll
                self._fail(error, "joining the group")

    async def on_partitions_revoked(self, revoked: Iterable[KafkaPartition]) -> None:
        """Shut the gate and let the listener finish; called by aiokafka.

        Rebalances are eager: all that we own goes, whatever ``revoked`` names.
        """
        lost = sorted(self._gate.owned())
        if not lost:
            return  # before the first assignment, too
        for partition in lost:
            self._gate.shut(partition)
        await self.end_admissions(lost)
        try:
            async with asyncio.timeout(self._revoke_timeout_s + _OVERTIME_S):
                await self._listener.revoked([TopicPartition(*each) for each in lost])
        except TimeoutError:
            _log.warning("revoke_timeout", partitions=len(lost))
        except Exception as error:  # noqa: BLE001 aiokafka would swallow it: raised by poll
            self._fail(error, "giving partitions back")
        finally:
            for partition in lost:
                self._gate.disown(partition)

    def start_admission(self, partition: KafkaPartition) -> None:
        """Make an owned partition ready, in the background."""
        task = asyncio.get_running_loop().create_task(self._admit(partition))
        self._admissions[partition] = task

    async def end_admissions(self, partitions: Iterable[KafkaPartition] | None = None) -> None:
        """Cancel admissions under way, all by default, and wait for their end."""
        named = list(self._admissions if partitions is None else partitions)
        tasks = [self._admissions.pop(each) for each in named if each in self._admissions]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _admit(self, partition: KafkaPartition) -> None:
        epoch = self._gate.epoch(partition)
        try:
            offset = await self._taken_over(partition)
        except Exception as error:  # noqa: BLE001 nobody awaits this task: raised by poll
            self._fail(error, f"taking over {partition.topic}-{partition.partition}")
        else:
            self._gate.admit(partition, epoch, offset)

    async def _taken_over(self, partition: KafkaPartition) -> int:
        # In this order: ``assigned`` fences an earlier owner and so completes its transaction;
        # only then is the committed offset final.
        name = f"{partition.topic}-{partition.partition}"
        await _retried(name, lambda: self._listener.assigned([TopicPartition(*partition)]))
        return await _retried(name, lambda: self._first_offset(partition))

    def _fail(self, error: Exception, doing: str) -> None:
        self.failure = error if isinstance(error, BrokerError) else broker_error(error, doing)
        if self.failure is not error:
            self.failure.__cause__ = error
        _log.error("membership_failed", doing=doing, error=type(error).__name__)


async def _retried(partition: str, attempt: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            with mapped(f"taking over {partition}"):
                return await attempt()
        except BrokerError as error:
            if not error.retriable:
                raise
            _log.warning("admission_retried", partition=partition, error=str(error))
            await asyncio.sleep(_RETRY_S)


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Leave the group and close all connections, in bounded time.

    With the broker down, ``stop`` of 0.14.0 may hang, or end in the CancelledError of a task of
    its own with its connections left open. So it runs in a task, and the client is closed after.
    """
    stopping = asyncio.ensure_future(consumer.stop())
    try:
        await asyncio.wait([stopping], timeout=_STOP_TIMEOUT_S)
    finally:
        stopping.cancel()
    if not stopping.done() or stopping.cancelled() or stopping.exception() is not None:
        _log.warning("consumer_stop_incomplete")
        closing = asyncio.ensure_future(consumer._client.close())  # noqa: SLF001 see above
        await asyncio.wait([closing], timeout=_STOP_TIMEOUT_S)
