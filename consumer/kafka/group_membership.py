"""Our membership in the consumer group: what happens at a rebalance, and in which order.

aiokafka returns records and sends no heartbeats while its callback ``on_partitions_assigned`` runs.
So the callback only shuts the fetch state and starts one *admission* task per partition, which
calls the listener and then reads the committed offset. aiokafka swallows exceptions of callbacks;
here they are stored as ``failure`` for the next poll.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import structlog
from aiokafka import ConsumerRebalanceListener
from aiokafka import TopicPartition as KafkaPartition

from streamlabel.consumer.core.ports import AssignmentListener
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.kafka.errors import broker_error, mapped
from streamlabel.consumer.kafka.fetch_state import FetchState
from streamlabel.errors import BrokerError

__all__ = ["Membership"]

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_RETRY_S = 1.0  # between two attempts to admit a partition
_OVERTIME_S = 5.0  # the listener has its own time limit; this is for one that exceeds it


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Calls the listener at a rebalance, and tells the fetch state when partitions are ready.

    Args:
        listener: ``assigned`` is awaited per partition, for many at once; repeated while it raises
            a retriable BrokerError; cancelled if the partition is revoked meanwhile.
        first_offset: returns where to start reading: the committed offset, or by the policy.
        pause: stops aiokafka from reading a partition.
        revoke_timeout_s: time limit of ``listener.revoked``.
        replaced: called before the group is joined again; returns an error if it must not be.

    Attributes:
        failure: why this member cannot continue; None as long as it can.
        has_failed: set when it cannot.
    """

    def __init__(
        self,
        fetch_state: FetchState,
        listener: AssignmentListener,
        *,
        first_offset: Callable[[KafkaPartition], Awaitable[int]],
        pause: Callable[[KafkaPartition], None],
        revoke_timeout_s: float,
        replaced: Callable[[], BrokerError | None],
    ) -> None:
        self.failure: BrokerError | None = None
        self.has_failed = asyncio.Event()
        self._fetch_state = fetch_state
        self._listener = listener
        self._first_offset = first_offset
        self._pause = pause
        self._revoke_timeout_s = revoke_timeout_s
        self._replaced = replaced
        self._has_joined = False
        self._revoking = asyncio.Lock()
        self._admissions: dict[KafkaPartition, asyncio.Task[None]] = {}

    async def on_partitions_assigned(self, assigned: Iterable[KafkaPartition]) -> None:
        """Shut the fetch state and start admitting; called by aiokafka."""
        self._has_joined = True
        gained = sorted(assigned)
        for partition in gained:
            self._fetch_state.own(partition)
            self._pause(partition)
            self.start_admission(partition)
        if not gained:  # more members than partitions: tells the listener that we have joined
            try:
                await self._listener.assigned([])
            except Exception as error:  # noqa: BLE001 aiokafka would swallow it: raised by poll
                self._fail(error, "joining the group")

    async def on_partitions_revoked(self, revoked: Iterable[KafkaPartition]) -> None:
        """Shut the fetch state and let the listener finish; called by aiokafka.

        Rebalances are eager: all our partitions are revoked, whatever ``revoked`` contains.
        """
        del revoked
        async with self._revoking:
            await self._revoke()

    async def give_up(self, then: Callable[[], None]) -> None:
        """Revoke all our partitions, as at a rebalance, and then call ``then``.

        For another subscription: aiokafka forgets the partitions at once when it changes, and could
        no longer commit what the listener has finished.
        """
        async with self._revoking:
            await self._revoke()
            then()

    async def _revoke(self) -> None:
        lost = sorted(self._fetch_state.owned())
        for partition in lost:
            self._fetch_state.shut(partition)
        if self._has_joined and (why := self._replaced()) is not None:
            self.fail(why)
            raise asyncio.CancelledError  # ends aiokafka's task, which would join again
        if not lost:
            return  # also called before the first assignment
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
                self._fetch_state.disown(partition)

    def start_admission(self, partition: KafkaPartition) -> None:
        """Make an owned partition ready, in the background."""
        task = asyncio.get_running_loop().create_task(self._admit(partition))
        self._admissions[partition] = task

    def begin_again(self, partition: KafkaPartition) -> None:
        """Revoke and admit a partition again that stays assigned to us."""
        self._fetch_state.shut(partition)
        task = asyncio.get_running_loop().create_task(self._readmit(partition))
        self._admissions[partition] = task

    def fail(self, error: BrokerError) -> None:
        """Let the next poll raise ``error``."""
        self.failure = error
        self.has_failed.set()

    async def end_admissions(self, partitions: Iterable[KafkaPartition] | None = None) -> None:
        """Cancel admissions in progress, all by default, and wait for their end."""
        named = list(self._admissions if partitions is None else partitions)
        tasks = [self._admissions.pop(each) for each in named if each in self._admissions]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _admit(self, partition: KafkaPartition) -> None:
        epoch = self._fetch_state.epoch(partition)
        try:
            offset = await self._taken_over(partition)
        except Exception as error:  # noqa: BLE001 nobody awaits this task: raised by poll
            self._fail(error, f"taking over {partition.topic}-{partition.partition}")
        else:
            self._fetch_state.admit(partition, epoch, offset)

    async def _readmit(self, partition: KafkaPartition) -> None:
        try:
            await self._listener.revoked([TopicPartition(*partition)])
        except Exception as error:  # noqa: BLE001 nobody awaits this task: raised by poll
            self._fail(error, f"beginning {partition.topic}-{partition.partition} again")
        else:
            await self._admit(partition)

    async def _taken_over(self, partition: KafkaPartition) -> int:
        # In this order: ``assigned`` fences an earlier owner and so completes its transaction;
        # only then is the committed offset final.
        name = f"{partition.topic}-{partition.partition}"
        await _retried(name, lambda: self._listener.assigned([TopicPartition(*partition)]))
        return await _retried(name, lambda: self._first_offset(partition))

    def _fail(self, error: Exception, doing: str) -> None:
        failure = error if isinstance(error, BrokerError) else broker_error(error, doing)
        if failure is not error:
            failure.__cause__ = error
        _log.error("membership_failed", doing=doing, error=type(error).__name__)
        self.fail(failure)


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
