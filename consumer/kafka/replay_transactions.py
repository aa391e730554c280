"""Writes chosen dead letters to the input topic, each group with its receipt in one transaction.

A record that violates a rule of the input topic is not replayed; the others are replayed without
it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import BrokerResponseError

from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.kafka.error_codes import is_refusal
from streamlabel.consumer.kafka.limits import SizeLimits, batches
from streamlabel.consumer.kafka.producer import write
from streamlabel.consumer.kafka.transaction_trials import Refused, Trials
from streamlabel.consumer.output.dead_letter_reader import DeadLetter, receipt

__all__ = ["Choice", "ReplayTransactions"]

_log = structlog.get_logger(__name__)


class Choice(NamedTuple):
    """A dead letter that may be replayed, and the record that it becomes."""

    dead: DeadLetter
    outbound: Outbound


class _RefusedBatch(NamedTuple):
    """A batch that the input topic refuses; the transaction is still open."""

    place: TopicPartition  # of the input topic
    batch: Sequence[Choice]
    answer: BrokerResponseError


class ReplayTransactions:
    """The transactions of one partition of the dead-letter topic.

    Args:
        producer: started, in no transaction.
        partitions: of each input topic.
        limits: of its batches.
        transaction_timeout_ms: of the producer.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        partitions: Mapping[str, int],
        *,
        limits: SizeLimits,
        transaction_timeout_ms: int,
    ) -> None:
        self._producer = producer
        self._partitions = partitions
        self._limits = limits
        self._timeout_ms = transaction_timeout_ms

    async def write(self, chosen: Sequence[Choice]) -> Sequence[Choice]:
        """Write all records that the input topic accepts, and the receipt; return the refused ones.

        Raises:
            KafkaError, OSError, TimeoutError, AssertionError: nothing is written, or it is not
                known; the producer must be discarded.
            BrokerError: not retriable: the broker is too old to continue after a refusal.
        """
        stay: list[Choice] = []
        left = list(chosen)
        while left and (refused := await self._transact(left)):
            found = await self._search(refused)
            stay += found
            left = [choice for choice in left if choice not in found]
        return stay

    async def _transact(self, chosen: Sequence[Choice]) -> _RefusedBatch | None:
        """Commit; or return a batch that is refused."""
        async with asyncio.timeout(self._timeout_ms / 1000):
            await self._producer.begin_transaction()
            sent: list[asyncio.Future[Any]] = []
            written: list[tuple[TopicPartition, Sequence[Choice]]] = []
            for place, mine in self._by_partition(chosen).items():
                outbounds = [choice.outbound for choice in mine]
                for indexes in batches(outbounds, range(len(mine)), self._limits):
                    written.append((place, [mine[index] for index in indexes]))
                    batch = [outbounds[index] for index in indexes]
                    sent.append(await write(self._producer, batch, place.partition))
            places = [dead.record.position for dead, _ in chosen]
            sent.append(await write(self._producer, [receipt(places)], places[0].partition))
            # await batches before the commit, which ignores their errors: see
            # ``transactional_sink``
            results = await asyncio.gather(*sent, return_exceptions=True)
            for (place, of), result in zip(written, results, strict=False):
                if isinstance(result, BrokerResponseError) and is_refusal(result):
                    return _RefusedBatch(place, of, result)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            await self._producer.commit_transaction()
        return None

    def _by_partition(self, chosen: Sequence[Choice]) -> Mapping[TopicPartition, Sequence[Choice]]:
        found: dict[TopicPartition, list[Choice]] = {}
        for choice in chosen:
            source, topic = choice.dead.source, choice.outbound.topic
            home = 0 if source is None else source.partition
            place = TopicPartition(topic, home % self._partitions[topic])
            found.setdefault(place, []).append(choice)
        return found

    async def _search(self, refused: _RefusedBatch) -> Sequence[Choice]:
        """Return the records of a batch that are also refused alone."""
        trials = Trials(self._producer, transaction_timeout_ms=self._timeout_ms)
        found = await trials.search(
            refused.place,
            [choice.outbound for choice in refused.batch],
            Refused(range(len(refused.batch)), refused.answer),
        )
        if not found:
            raise refused.answer
        why = next(iter(found.values()))
        _log.warning("replay_refused", records=len(found), why=str(why))
        return [refused.batch[index] for index in found]
