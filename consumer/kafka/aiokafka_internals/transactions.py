"""Private parts of aiokafka's producer: its transaction, its id and epoch, its tasks."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.producer.transaction_manager import PidAndEpoch

from streamlabel.consumer.kafka.aiokafka_internals.batch_queues import drain_waiter, queues_of

__all__ = [
    "before_denial",
    "is_in_transaction",
    "producer_id_and_epoch",
    "sender_has_ended",
    "start_epoch",
    "tasks_of",
    "transactional_id",
    "unretrieved_futures",
]


def is_in_transaction(producer: AIOKafkaProducer) -> bool:
    """Return whether a transactional producer has a transaction open that has not failed.

    Works around: otherwise only the error of the next call shows it. Seen in aiokafka 0.14.0.
    """
    return bool(producer._txn_manager.is_in_transaction())


def transactional_id(producer: AIOKafkaProducer) -> str:
    """Return the transactional id of a producer.

    Works around: the producer has no public attribute for it. Seen in aiokafka 0.14.0.
    """
    name: str = producer._txn_manager.transactional_id
    return name


def producer_id_and_epoch(producer: AIOKafkaProducer) -> tuple[int, int]:
    """Return the id and the epoch that the broker gave to a producer.

    Works around: InitProducerId 3 requires them, and no public attribute has them. Seen in aiokafka
    0.14.0.
    """
    manager = producer._txn_manager
    return manager.producer_id, manager.producer_epoch


def start_epoch(producer: AIOKafkaProducer, producer_id: int, epoch: int) -> None:
    """Continue with another epoch, in which the sequence numbers of every partition start at 0.

    Works around: aiokafka has version 0 of InitProducerId, which fences every producer of the same
    transactional id, and sets id and epoch only once: a second ``set_pid_and_epoch`` fails. Seen in
    aiokafka 0.14.0.
    """
    manager = producer._txn_manager
    manager._pid_and_epoch = PidAndEpoch(producer_id, epoch)
    manager._sequence_numbers.clear()


def before_denial(producer: AIOKafkaProducer, act: Callable[[Exception], None]) -> None:
    """Call ``act`` when the broker denies a part of a transaction, before aiokafka reacts.

    Works around: aiokafka then forgets which partitions were not yet added to the transaction, and
    sends their batches. Seen in aiokafka 0.14.0.
    """
    manager = producer._txn_manager
    deny = manager.error_transaction

    def error_transaction(error: Exception) -> None:
        act(error)
        deny(error)

    manager.error_transaction = error_transaction


def sender_has_ended(producer: AIOKafkaProducer) -> bool:
    """Return whether the task that sends in the background has ended: it sends nothing more.

    Works around: otherwise only the error of the next call shows it. Seen in aiokafka 0.14.0.
    """
    return bool(producer._sender.sender_task.done())


def tasks_of(producer: AIOKafkaProducer) -> Iterator["asyncio.Task[Any]"]:
    """Yield the sender's own task and those it started.

    Works around: the sender keeps them in a local variable, and when it is cancelled it waits for
    all of them, for ever while the broker is down. They are found by their ``self``. Seen in
    aiokafka 0.14.0.
    """
    sender = producer._sender
    for task in asyncio.all_tasks():
        frame = getattr(task.get_coro(), "cr_frame", None)
        if frame is not None and frame.f_locals.get("self") is sender:
            yield task


def unretrieved_futures(producer: AIOKafkaProducer) -> Iterator["asyncio.Future[Any]"]:
    """Yield the futures of a producer whose errors may never be retrieved.

    Works around: after discarding a producer, the errors have to be retrieved, or asyncio logs
    them. Without idempotence there is no ``_txn_manager``, outside a transaction no
    ``_transaction_waiter``, and before ``start`` no task. Seen in aiokafka 0.14.0.
    """
    for queue in queues_of(producer).values():
        for batch in queue:
            yield from (batch.future, drain_waiter(batch))
    transaction = getattr(producer._txn_manager, "_transaction_waiter", None)
    for future in (producer._sender.sender_task, transaction):
        if future is not None:
            yield future
