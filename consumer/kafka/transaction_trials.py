"""Finds the refused outputs of a transaction, with transactions that are all aborted.

The producer remains the same, so a newer owner of the partition still fences it, and readers of
committed records never see what is tried here.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka_errors

from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.kafka.aiokafka_internals.transactions import is_in_transaction
from streamlabel.consumer.kafka.error_codes import is_refusal
from streamlabel.consumer.kafka.producer import write
from streamlabel.consumer.kafka.producer_epoch import begin_epoch
from streamlabel.consumer.kafka.refusals import refused_among, refused_output
from streamlabel.errors import RecordError

__all__ = ["FAILURES", "Refused", "Trials", "abort", "send"]

# The errors with which a transaction may fail.
FAILURES: Final = (
    kafka_errors.KafkaError,
    kafka_errors.IllegalOperation,
    AssertionError,  # raised by aiokafka in a state that a failed producer cannot leave
    OSError,
    TimeoutError,
)
_ABORT_TIMEOUT_S: Final = 2.0


class Refused(NamedTuple):
    """A batch in which a record violates a rule of its topic.

    Attributes:
        indexes: of its outputs among those of the transaction.
        answer: of the broker.
    """

    indexes: Sequence[int]
    answer: kafka_errors.BrokerResponseError


class Trials:
    """Tries outputs with a producer that is in a transaction which cannot be committed.

    Args:
        transaction_timeout_ms: of the producer; each step gets the same time.
    """

    def __init__(self, producer: AIOKafkaProducer, *, transaction_timeout_ms: int) -> None:
        self._producer = producer
        self._timeout_ms = transaction_timeout_ms

    async def search(
        self, partition: TopicPartition, outbounds: Sequence[Outbound], refused: Refused
    ) -> dict[int, RecordError]:
        """Return which outputs of a batch are refused, and why; the producer can continue.

        Empty: none is refused alone.

        Raises:
            KafkaError, OSError, TimeoutError and others of FAILURES: the producer cannot continue.
            BrokerError: not retriable: the broker is too old for the producer to continue.
        """
        await self._undo()

        async def probe(indexes: Sequence[int]) -> kafka_errors.BrokerResponseError | None:
            return await self._probe(partition, [outbounds[index] for index in indexes])

        found = await refused_among(refused.indexes, refused.answer, probe=probe)
        if is_in_transaction(self._producer):
            await self._undo()
        return {
            index: refused_output(outbounds[index].topic, answer) for index, answer in found.items()
        }

    async def _probe(
        self, partition: TopicPartition, batch: Sequence[Outbound]
    ) -> kafka_errors.BrokerResponseError | None:
        try:
            async with asyncio.timeout(self._timeout_ms / 1000):
                if not is_in_transaction(self._producer):
                    await self._producer.begin_transaction()
                await (await send(self._producer, partition, batch))
        except kafka_errors.BrokerResponseError as error:
            if not is_refusal(error):
                raise
            await self._undo()
            return error
        return None

    async def _undo(self) -> None:
        """Abort, and restart the sequence numbers of the producer."""
        async with asyncio.timeout(self._timeout_ms / 1000):
            await self._producer.abort_transaction()
            await begin_epoch(self._producer, transaction_timeout_ms=self._timeout_ms)


async def send(
    producer: AIOKafkaProducer, partition: TopicPartition, batch: Sequence[Outbound]
) -> "asyncio.Future[Any]":
    """Queue one batch for the partition that belongs to an input partition."""
    partitions = await producer.partitions_for(batch[0].topic)
    return await write(producer, batch, partition.partition % max(1, len(partitions)))


async def abort(producer: AIOKafkaProducer) -> None:
    """Abort an open transaction; otherwise readers of committed records wait for its timeout.

    It cannot affect a newer owner: the broker refuses the epoch of a producer that was fenced.
    """
    if not is_in_transaction(producer):
        return
    with contextlib.suppress(*FAILURES):
        async with asyncio.timeout(_ABORT_TIMEOUT_S):
            await producer.abort_transaction()
