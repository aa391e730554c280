"""What both sinks need of aiokafka's producer: start it, build and write batches, discard it.

Batches are built here (``create_batch``) instead of record by record (``send``): one future per
batch, not per record, and the records of a batch are known. Idempotence and transactions work as
usual: aiokafka assigns sequence numbers to a batch when it is first sent, sends one batch per
partition at a time, and retries it with the same numbers.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError, ProducerClosed

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.kafka.aiokafka_internals.batch_queues import drop_queues, fail_all
from streamlabel.consumer.kafka.aiokafka_internals.connections import abort_connections
from streamlabel.consumer.kafka.aiokafka_internals.transactions import (
    before_denial,
    tasks_of,
    unretrieved_futures,
)
from streamlabel.consumer.kafka.clients import ends_well, start_client
from streamlabel.consumer.kafka.connection import connection_options
from streamlabel.consumer.kafka.passwords import keep_password
from streamlabel.consumer.kafka.reaching import reaching
from streamlabel.consumer.kafka.throttling import note_throttling
from streamlabel.consumer.kafka.transactional_ids import end_earlier

__all__ = [
    "abandon",
    "build",
    "start_producer",
    "start_transactional",
    "stop_producer",
    "write",
]

_log = structlog.get_logger(__name__)

_STOP_TIMEOUT_S: Final = 5.0


async def start_producer(
    kafka: KafkaSettings,
    *,
    timeout_s: float,
    **options: Any,  # noqa: ANN401 aiokafka's own
) -> AIOKafkaProducer:
    """Return a connected, idempotent producer.

    Raises:
        BrokerError: no connection, with the cause; nothing is left open.
    """
    connection = await connection_options(kafka)
    producer = AIOKafkaProducer(
        **connection,
        acks="all",
        enable_idempotence=True,
        compression_type=None if kafka.compression == "none" else kafka.compression,
        max_request_size=kafka.max_request_bytes,
        max_batch_size=kafka.max_request_bytes,  # we split batches ourselves
        **options,
    )
    keep_password(producer.client, kafka.security, connection.get("sasl_plain_password"))
    note_throttling(producer.client, "producer")
    async with reaching(kafka, "connecting the producer"):
        async with asyncio.timeout(timeout_s):
            await start_client(producer.start(), stop=partial(abandon, producer))
    return producer


async def start_transactional(
    kafka: KafkaSettings,
    name: str,
    *,
    ending: str,
    transaction_timeout_ms: int,
    **options: Any,  # noqa: ANN401 aiokafka's own
) -> AIOKafkaProducer:
    """Return a connected, transactional producer; earlier ones of the same id are fenced.

    Args:
        kafka: which cluster.
        name: its transactional id.
        ending: another transactional id, whose producer is fenced, too.
        transaction_timeout_ms: the broker aborts what takes longer; starting may take as long.
        **options: of aiokafka's producer.

    Raises:
        BrokerError: no connection, with the cause; nothing is left open.
        KafkaError, OSError, TimeoutError: the other producer cannot be fenced.
    """
    timeout_s = transaction_timeout_ms / 1000
    producer = await start_producer(
        kafka,
        timeout_s=timeout_s,
        transactional_id=name,
        transaction_timeout_ms=transaction_timeout_ms,
        **options,
    )
    _send_nothing_denied(producer)
    try:
        async with asyncio.timeout(timeout_s):
            await end_earlier(producer.client, ending, timeout_ms=transaction_timeout_ms)
    except BaseException:
        await abandon(producer)
        raise
    return producer


def _send_nothing_denied(producer: AIOKafkaProducer) -> None:
    """Drop what is queued when the broker denies a part of a transaction.

    aiokafka 0.14.0 then forgets which partitions were not yet added to the transaction, and sends
    their batches. While the broker still writes the markers of the previous transaction, it treats
    them as a part of that one, and commits them.
    """

    def drop(error: Exception) -> None:
        fail_all(producer, error)
        for future in unretrieved_futures(producer):
            if future.done() and not future.cancelled():
                future.exception()  # for asyncio; a caller that waits gets the error anyway
        drop_queues(producer)

    before_denial(producer, drop)


async def stop_producer(producer: AIOKafkaProducer) -> None:
    """Stop a producer that has nothing in flight; abandon it if that takes too long."""
    if not await ends_well(producer.stop(), timeout_s=_STOP_TIMEOUT_S):
        _log.warning("producer_stop_incomplete")
        await abandon(producer)


async def abandon(producer: AIOKafkaProducer) -> None:
    """Discard a producer: its queued batches are not sent any more.

    ``stop`` would first send these: without end while the broker is down, and possibly after the
    new producer has written the same outputs. In 0.14.0 the only alternative is to cancel the
    producer's own tasks. A cancellation of this call waits for its end.
    """
    await ends_well(_discard(producer), timeout_s=4 * _STOP_TIMEOUT_S)


async def _discard(producer: AIOKafkaProducer) -> None:
    tasks = list(tasks_of(producer))
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_STOP_TIMEOUT_S)
    abort_connections(producer.client)
    fail_all(producer, ProducerClosed())
    for future in (*tasks, *unretrieved_futures(producer)):
        if future.done() and not future.cancelled():
            future.exception()  # or asyncio would log that it was never retrieved
    if not await ends_well(producer.stop(), timeout_s=_STOP_TIMEOUT_S):
        await ends_well(producer.client.close(), timeout_s=_STOP_TIMEOUT_S)


def build(producer: AIOKafkaProducer, batch: Sequence[Outbound]) -> Any:  # noqa: ANN401 aiokafka's
    """Return a closed batch of outputs of one topic.

    Raises:
        KafkaError: it is larger than the producer accepts.
    """
    builder = producer.create_batch()
    of: object = None  # most outputs share their headers
    headers: list[tuple[str, bytes | None]] = []
    for outbound in batch:
        if outbound.headers is not of:
            of, headers = outbound.headers, list(outbound.headers)
        appended = builder.append(
            timestamp=None, key=outbound.key, value=outbound.value, headers=headers
        )
        if appended is None:
            raise MessageSizeTooLargeError(f"{len(batch)} outputs, {builder.size()} bytes")
    builder.close()
    return builder


async def write(
    producer: AIOKafkaProducer, batch: Sequence[Outbound], partition: int
) -> "asyncio.Future[Any]":
    """Queue one batch; the future is done when all replicas have it.

    Raises:
        KafkaError: the producer has failed, or its queue stayed full.
    """
    builder = build(producer, batch)
    future: asyncio.Future[Any] = await producer.send_batch(
        builder, batch[0].topic, partition=partition
    )
    future.add_done_callback(_retrieve_error)
    return future


def _retrieve_error(future: "asyncio.Future[Any]") -> None:
    """Retrieve the error, so that asyncio does not log it if the batch was given up."""
    if not future.cancelled():
        future.exception()
