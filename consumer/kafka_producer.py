"""What both sinks need of aiokafka's producer: start one, fill batches, throw one away.

Batches are built here (``create_batch``) instead of record by record (``send``): one future per
batch, not per record, and we know which records went together. It holds with idempotence and
transactions: aiokafka numbers a batch when it first leaves, keeps one batch per partition under
way, and repeats it with its number.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError, ProducerClosed

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.kafka_connection import connection_options
from streamlabel.consumer.ports import Outbound

__all__ = ["Limits", "abandon", "batches", "start_producer", "stop_producer", "write"]

_log = structlog.get_logger(__name__)

# A batch is a record batch header and its records. The rest is room for the request around it.
_OVERHEAD_BYTES: Final = 128
# Larger batches save nothing more per record, but hold a broker's request thread for longer.
_TARGET_BYTES: Final = 256 * 1024
_STOP_TIMEOUT_S: Final = 5.0


async def start_producer(
    kafka: KafkaSettings,
    *,
    timeout_s: float,
    **options: Any,  # noqa: ANN401 aiokafka's own
) -> AIOKafkaProducer:
    """Return a connected, idempotent producer.

    Raises:
        KafkaError, OSError, TimeoutError: no connection; nothing is left behind.
    """
    producer = AIOKafkaProducer(
        **await connection_options(kafka),
        acks="all",
        enable_idempotence=True,
        compression_type=None if kafka.compression == "none" else kafka.compression,
        max_request_size=kafka.max_request_bytes,
        max_batch_size=kafka.max_request_bytes,  # we split batches ourselves
        **options,
    )
    try:
        async with asyncio.timeout(timeout_s):
            await producer.start()
    except BaseException:
        await abandon(producer)
        raise
    return producer


async def stop_producer(producer: AIOKafkaProducer) -> None:
    """Stop a producer that has nothing under way; abandon it if that takes too long."""
    if not await _ends_well(producer.stop()):
        _log.warning("producer_stop_incomplete")
        await abandon(producer)


async def abandon(producer: AIOKafkaProducer) -> None:
    """Throw a producer away: nothing it still holds is sent any more.

    ``stop`` would first send what is left, for ever while the broker is down, and late: after the
    replacement has written the same outputs. 0.14.0 has no other way out than its own tasks.
    """
    tasks = list(_tasks(producer._sender))  # noqa: SLF001 see above
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_STOP_TIMEOUT_S)
    producer._message_accumulator.fail_all(ProducerClosed())  # noqa: SLF001 see above
    for future in (*tasks, *_unasked(producer)):
        if future.done() and not future.cancelled():
            future.exception()  # nobody else asks, and asyncio would complain about that
    if not await _ends_well(producer.stop()):
        await _ends_well(producer.client.close())


async def _ends_well(stopping: Coroutine[Any, Any, None]) -> bool:
    """Await a stop of aiokafka, which may hang or end in a CancelledError of its own tasks."""
    task = asyncio.ensure_future(stopping)
    try:
        await asyncio.wait([task], timeout=_STOP_TIMEOUT_S)
    finally:
        task.cancel()
    return task.done() and not task.cancelled() and task.exception() is None


def _tasks(sender: object) -> Iterator["asyncio.Task[Any]"]:
    """The sender's own task and those it started; it keeps them in a local variable."""
    for task in asyncio.all_tasks():
        frame = getattr(task.get_coro(), "cr_frame", None)
        if frame is not None and frame.f_locals.get("self") is sender:
            yield task


def _unasked(producer: AIOKafkaProducer) -> Iterator["asyncio.Future[Any]"]:
    accumulator = producer._message_accumulator  # noqa: SLF001 see ``abandon``
    for queue in accumulator._batches.values():  # noqa: SLF001 see ``abandon``
        for batch in queue:
            yield from (batch.future, batch._drain_waiter)  # noqa: SLF001 see ``abandon``
    transaction = getattr(producer._txn_manager, "_transaction_waiter", None)  # noqa: SLF001 same
    for future in (producer._sender.sender_task, transaction):  # noqa: SLF001 same
        if future is not None:
            yield future


class Limits:
    """Largest output and batch of each topic: what it says, lowered by what it refused."""

    def __init__(self, kafka: KafkaSettings, batch_bytes: Mapping[str, int | None]) -> None:
        self._default = kafka.max_request_bytes - _OVERHEAD_BYTES
        self._records = {
            topic: self._default if limit is None else min(self._default, limit - _OVERHEAD_BYTES)
            for topic, limit in batch_bytes.items()
        }
        self._batches = {topic: min(limit, _TARGET_BYTES) for topic, limit in self._records.items()}

    def record_bytes(self, topic: str) -> int:
        """Largest ``Outbound.size_bytes``."""
        return self._records.get(topic, self._default)

    def batch_bytes(self, topic: str) -> int:
        """Largest sum of ``Outbound.size_bytes``, unless one record alone is larger."""
        return self._batches.get(topic, _TARGET_BYTES)

    def refused(self, outbounds: Sequence[Outbound], indexes: Iterable[int]) -> dict[int, str]:
        """Return index -> why, for those too large for their topic."""
        return {
            index: f"{outbounds[index].size_bytes} bytes are more than {topic} takes"
            for index in indexes
            if outbounds[index].size_bytes > self.record_bytes(topic := outbounds[index].topic)
        }

    def lower(self, batch: Sequence[Outbound]) -> None:
        """Learn from a batch that the broker refused: halve batches, down to the one record."""
        topic = batch[0].topic
        size = sum(outbound.size_bytes for outbound in batch)
        if len(batch) == 1:
            self._records[topic] = size - 1
        self._batches[topic] = max(1, min(self.batch_bytes(topic), size) // 2)


def batches(
    outbounds: Sequence[Outbound], indexes: Iterable[int], limits: Limits
) -> Iterator[list[int]]:
    """Split outputs into batches of one topic each; yields indexes, in order per topic."""
    filling: dict[str, tuple[list[int], int]] = {}
    for index in indexes:
        topic, size = outbounds[index].topic, outbounds[index].size_bytes
        batch, filled = filling.get(topic, ([], 0))
        if batch and filled + size > limits.batch_bytes(topic):
            yield batch
            batch, filled = [], 0
        batch.append(index)
        filling[topic] = (batch, filled + size)
    for batch, _ in filling.values():
        yield batch


async def write(
    producer: AIOKafkaProducer, batch: Sequence[Outbound], partition: int
) -> "asyncio.Future[Any]":
    """Queue one batch; the future is done when all replicas have it.

    Raises:
        KafkaError: the producer cannot go on, or its queue stayed full.
    """
    builder = producer.create_batch()
    for outbound in batch:
        appended = builder.append(
            timestamp=None, key=outbound.key, value=outbound.value, headers=list(outbound.headers)
        )
        if appended is None:
            raise MessageSizeTooLargeError(f"{len(batch)} outputs, {builder.size()} bytes")
    builder.close()
    future: asyncio.Future[Any] = await producer.send_batch(
        builder, batch[0].topic, partition=partition
    )
    future.add_done_callback(_seen)
    return future


def _seen(future: "asyncio.Future[Any]") -> None:
    """Look at the error: who awaits the batch gets it, and who gave up on it need not."""
    if not future.cancelled():
        future.exception()
