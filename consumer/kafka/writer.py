"""A producer shared by many partitions: controls what is sent, when, and what is withdrawn.

aiokafka 0.14.0 assigns sequence numbers to a batch when it is first sent, and retries it with the
same numbers until it is answered, so waiting never duplicates anything, while a new producer may.
Missing features are added here:

- A request contains no more bytes than the link has transferred in time before (``Pace``). aiokafka
  sends a batch of every partition in one request and retries it unchanged: on a slow link for ever.
- Nothing is sent while ``may_send`` returns False, not even batches that were queued before.
- A batch can be withdrawn. If it was sent, its sequence numbers may be missing at the broker, so
  the producer is *retired*: it finishes the batches that others wait for and accepts no more.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError

from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.delivery.pace import Pace
from streamlabel.consumer.kafka.aiokafka_internals.batch_queues import (
    Batch,
    batch_of,
    forget_queue,
    never_expire,
    queues_of,
    replace_drain,
    size_bytes,
    wake_sender,
    wake_waiting_senders,
)
from streamlabel.consumer.kafka.aiokafka_internals.transactions import sender_has_ended
from streamlabel.consumer.kafka.error_codes import is_refusal
from streamlabel.consumer.kafka.producer import abandon, build, stop_producer
from streamlabel.consumer.kafka.refusals import BatchRefusedError

__all__ = ["Writer"]

# Interval at which a batch without an answer checks whether its partition still exists.
_CHECK_INTERVAL_S: Final = 0.5
# A request is retried after request_timeout_ms; it should take a small part of that.
_TARGET_SHARE: Final = 1 / 8


@dataclass(slots=True)
class _Request:
    size_bytes: int
    began_s: float
    pace: Pace
    is_over: bool = False

    def over(self, now_s: float, *, answered: bool) -> None:
        """Adjust the pace once per request, whichever of its batches reports first."""
        took_s = now_s - self.began_s
        if not self.is_over and answered:
            self.pace.took(self.size_bytes, took_s)
        elif not self.is_over and took_s > self.pace.target_s:  # else the size was not the cause
            self.pace.failed(self.size_bytes)
        self.is_over = True


class Writer:
    """A started, idempotent producer.

    Args:
        request_timeout_s: after which aiokafka repeats a request.
        may_send: whether anything may be sent now.

    Attributes:
        producer: as given.
        is_retired: it accepts no more batches; close it when ``users`` is 0.
        users: number of writes that wait for an answer.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        *,
        request_timeout_s: float,
        may_send: Callable[[], bool] = lambda: True,
    ) -> None:
        self.users = 0
        self._is_retired = False
        self.producer = producer
        self._may_send = may_send
        self._queues = queues_of(producer)
        self._unwanted: set[Batch] = set()
        self._requests: dict[Batch, _Request] = {}
        self._paces = defaultdict[int, Pace](
            partial(Pace, target_s=request_timeout_s * _TARGET_SHARE)
        )
        # Batches of a partition without a leader would time out, although they may be written
        # already; instead they wait for the leader.
        never_expire(producer)
        self._drain_all = replace_drain(producer, self._drain)

    @property
    def is_retired(self) -> bool:
        """Whether it accepts no more batches."""
        return self._is_retired or sender_has_ended(self.producer)

    async def close(self) -> None:
        """Disconnect; nothing is sent any more."""
        if self._is_retired or self.users:
            await abandon(self.producer)
        else:
            await stop_producer(self.producer)

    async def write(self, batch: Sequence[Outbound], source_partition: int) -> None:
        """Return when all replicas have the batch.

        Its partition is that of its input modulo the topic's present number of partitions. If that
        partition disappears because the topic was recreated, the batch is withdrawn and its
        partition computed again.

        Raises:
            BatchRefusedError: a record of it violates a rule of its topic.
            KafkaError: the broker refuses the batch, or the producer cannot continue.
        """
        topic = batch[0].topic
        while True:
            partitions = await self.producer.partitions_for(topic)
            place = KafkaPartition(topic, source_partition % max(1, len(partitions)))
            builder = build(self.producer, batch)
            try:
                future = await self.producer.send_batch(builder, topic, partition=place.partition)
            except KafkaTimeoutError:
                continue  # others wait for the same partition; nothing was queued
            except AssertionError:  # 0.14.0: the partition has just disappeared
                await asyncio.sleep(_CHECK_INTERVAL_S)
                continue
            queued = batch_of(self._queues[place], builder)
            try:
                if await self._answered_at(place, future):
                    return
            except KafkaError as error:
                self._is_retired = (
                    True  # the sequence numbers of the batch are missing at the broker
                )
                if is_refusal(error):
                    raise BatchRefusedError(error) from error
                raise
            finally:
                if not future.done():
                    future.cancel()
                    self._take_back(place, queued)

    async def _answered_at(self, place: KafkaPartition, future: "asyncio.Future[Any]") -> bool:
        """Wait for the answer; return False if the partition has disappeared."""
        while not (await asyncio.wait([future], timeout=_CHECK_INTERVAL_S))[0]:
            known = self.producer.client.cluster.partitions_for_topic(place.topic)
            if known is not None and place.partition not in known:
                return False
            self._wake()  # what was held back may be sent now
        await future
        return True

    def _take_back(self, place: KafkaPartition, batch: Batch) -> None:
        has_left = batch.retry_count > 0
        self._unwanted.add(batch)
        self._forget_unwanted()
        if has_left:
            self._is_retired = True
        else:
            wake_waiting_senders(batch)
        self._wake()

    def _forget_unwanted(self) -> None:
        """Remove unwanted batches from the queues; sent ones are removed if they come back."""
        if not self._unwanted:
            return
        for place in list(self._queues):
            queue = self._queues[place]
            for batch in self._unwanted.intersection(queue):
                queue.remove(batch)
                self._unwanted.discard(batch)
                self._requests.pop(batch, None)
            if not queue:
                forget_queue(self.producer, place)

    def _wake(self) -> None:
        if self._queues:
            wake_sender(self.producer)

    # Replaces the accumulator's method; the sender calls it before every request.

    def _drain(
        self,
        ignore_nodes: Collection[int],
        muted_partitions: Collection[KafkaPartition] = frozenset(),
    ) -> tuple[Mapping[int, Mapping[KafkaPartition, Batch]], bool]:
        self._forget_unwanted()
        now_s = time.monotonic()
        for queue in self._queues.values():
            if (unanswered := self._requests.get(queue[0])) is not None:
                unanswered.over(now_s, answered=False)
        held = self._held_back(ignore_nodes, muted_partitions)
        nodes, unknown_leaders = self._drain_all(ignore_nodes, held.union(muted_partitions))
        for node, batches in nodes.items():
            self._left(node, list(batches.values()), now_s)
        return nodes, unknown_leaders

    def _held_back(
        self, ignore_nodes: Collection[int], muted: Collection[KafkaPartition]
    ) -> set[KafkaPartition]:
        if not self._may_send():
            return set(self._queues)
        held = set()
        room_bytes: dict[int, int] = {}
        for place, queue in self._queues.items():
            leader = self.producer.client.cluster.leader_for_partition(place)
            if place in muted or leader in {None, -1} or leader in ignore_nodes:
                continue
            wanted_bytes = size_bytes(queue[0])
            if leader in room_bytes and wanted_bytes > room_bytes[leader]:
                held.add(place)
                continue
            room_bytes.setdefault(leader, self._paces[leader].limit_bytes)
            room_bytes[leader] -= wanted_bytes
        return held

    def _left(self, node: int, batches: Sequence[Batch], now_s: float) -> None:
        request = _Request(sum(map(size_bytes, batches)), now_s, self._paces[node])
        for batch in batches:
            if batch not in self._requests:
                batch.future.add_done_callback(partial(self._ended, batch))
            self._requests[batch] = request

    def _ended(self, batch: Batch, future: "asyncio.Future[Any]") -> None:
        self._unwanted.discard(batch)
        request = self._requests.pop(batch, None)
        if request is not None:
            request.over(time.monotonic(), answered=True)
