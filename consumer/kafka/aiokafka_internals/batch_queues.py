"""Private parts of aiokafka's producer: the queues of batches, and when they are sent."""

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition

__all__ = [
    "Batch",
    "Drain",
    "Queue",
    "batch_of",
    "drain_waiter",
    "drop_queues",
    "fail_all",
    "forget_queue",
    "never_expire",
    "queues_of",
    "replace_drain",
    "size_bytes",
    "wake_sender",
    "wake_waiting_senders",
]


class Batch(Protocol):
    """The members of ``MessageBatch`` that we use.

    Attributes:
        future: done when the broker has answered.
    """

    future: asyncio.Future[Any]

    @property
    def retry_count(self) -> int:
        """How often it was sent."""


class Queue(Protocol):
    """The batches of one partition, which are sent one after the other."""

    def __iter__(self) -> Iterator[Any]: ...

    def __getitem__(self, index: int, /) -> Batch: ...

    def __len__(self) -> int: ...

    def remove(self, value: Batch, /) -> None:
        """Remove one."""


# Nodes with a request in progress, partitions to hold back -> the batches to send now, by node, and
# whether a partition has no leader.
Drain = Callable[..., tuple[Mapping[int, Mapping[KafkaPartition, Batch]], bool]]


def queues_of(producer: AIOKafkaProducer) -> Mapping[KafkaPartition, Queue]:
    """Return the queues of a producer: the ones it uses, not a copy.

    Works around: no public way to see which batches wait for which broker. A batch that was sent
    is in no queue; it is put back when it has to be retried. Seen in aiokafka 0.14.0.
    """
    queues: Mapping[KafkaPartition, Queue] = producer._message_accumulator._batches
    return queues


def batch_of(queue: Queue, builder: object) -> Batch:
    """Return the batch in a queue that was made from a builder, right after ``send_batch``.

    Works around: ``send_batch`` returns a future, with which its batch cannot be removed from the
    queue. Seen in aiokafka 0.14.0.
    """
    batch: Batch = next(each for each in queue if each._builder is builder)
    return batch


def size_bytes(batch: Any) -> int:
    """Return the size of a batch; before compression if it was not sent yet.

    Works around: no public attribute for it. Seen in aiokafka 0.14.0.
    """
    size: int = batch._builder.size()
    return size


def drain_waiter(batch: Any) -> asyncio.Future[None]:
    """Return the future that callers await who wait for a batch to leave its queue.

    Works around: it gets the error of its batch; if the batch was given up, the error must be
    retrieved, or asyncio logs it. Seen in aiokafka 0.14.0.
    """
    waiter: asyncio.Future[None] = batch._drain_waiter
    return waiter


def wake_waiting_senders(batch: Any) -> None:
    """Wake the callers who wait for the place of a batch that was removed from its queue.

    Works around: as ``batch_of``. Seen in aiokafka 0.14.0.
    """
    if not batch._drain_waiter.done():
        batch._drain_waiter.set_result(None)


def forget_queue(producer: AIOKafkaProducer, place: KafkaPartition) -> None:
    """Remove an empty queue.

    Works around: the sender takes the first batch of every queue that exists. Seen in aiokafka
    0.14.0.
    """
    del producer._message_accumulator._batches[place]


def drop_queues(producer: AIOKafkaProducer) -> None:
    """Remove all queues with their batches, whose futures are done already.

    Works around: batches that failed while they waited would still be sent. Seen in aiokafka
    0.14.0.
    """
    producer._message_accumulator._batches.clear()


def fail_all(producer: AIOKafkaProducer, error: BaseException) -> None:
    """Let all batches fail, including those that were sent, and refuse new ones.

    Works around: ``stop`` first sends all queued batches, which takes for ever while the broker is
    down. Seen in aiokafka 0.14.0.
    """
    producer._message_accumulator.fail_all(error)


def never_expire(producer: AIOKafkaProducer) -> None:
    """Let batches that are added from now on wait without a time limit.

    Works around: a batch whose partition has no leader fails after ``request_timeout_ms``, although
    it may be written already. Seen in aiokafka 0.14.0.
    """
    producer._message_accumulator._batch_ttl = math.inf


def replace_drain(producer: AIOKafkaProducer, drain: Drain) -> Drain:
    """Let ``drain`` choose the batches to send; the sender calls it before every request.

    Works around: one request contains a batch of every partition, however slow the link is, and
    queued batches cannot be held back. Seen in aiokafka 0.14.0.

    Returns:
        The original function, to be called by ``drain``.
    """
    accumulator = producer._message_accumulator
    earlier: Drain = accumulator.drain_by_nodes
    accumulator.drain_by_nodes = drain
    return earlier


def wake_sender(producer: AIOKafkaProducer) -> None:
    """Let the sender choose the batches to send again.

    Works around: it does so when a batch is added or a response arrives, but not when batches that
    were held back may be sent. Seen in aiokafka 0.14.0.
    """
    accumulator = producer._message_accumulator
    if not accumulator._waiter_future.done():
        accumulator._waiter_future.set_result(None)
