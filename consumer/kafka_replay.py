"""Puts dead letters back onto the input topic, each of them once: ``streamlabel dlq replay``.

One partition of the dead-letter topic after the other. Starting its transactional producer ends
what an earlier replay left open there and shuts out one that still runs; only then are the
receipts read that say what is done. Records and their receipt are one transaction: whenever a
replay is interrupted, the next one goes on exactly behind it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer

from streamlabel.config.settings import Settings
from streamlabel.consumer.kafka_errors import mapped
from streamlabel.consumer.kafka_producer import (
    Limits,
    abandon,
    batches,
    start_producer,
    stop_producer,
    write,
)
from streamlabel.consumer.kafka_scan import Scanner
from streamlabel.consumer.ports import Clock, Outbound
from streamlabel.consumer.replay import (
    DeadLetter,
    Selection,
    judge,
    read,
    receipt,
    receipted,
    replayed,
)
from streamlabel.consumer.topics import Topic, ensure_topics
from streamlabel.errors import BrokerError

__all__ = ["Replay", "Report", "receipts"]

# One transaction. It is what a rate is paced by, and what an interruption repeats nothing of.
_TRANSACTION_ITEMS: Final = 100
_TRANSACTION_BYTES: Final = 4 * 1024 * 1024


@dataclass(slots=True)
class Report:
    """How far it is.

    Attributes:
        found: (reason, verdict) -> dead letters; verdicts of ``consumer.replay`` and ``too_large``.
        written: replayed by this run, and acknowledged.
    """

    found: Counter[tuple[str, str]] = field(default_factory=Counter)
    written: int = 0


class _Choice(NamedTuple):
    dead: DeadLetter
    outbound: Outbound


async def receipts(scanner: Scanner, partition: int, *, until: int) -> frozenset[int]:
    """Return the offsets of a partition below ``until`` that were replayed."""
    done: set[int] = set()
    async with aclosing(scanner.records(partition, until=until)) as records:
        async for record in records:
            done.update(receipted(record))
    return frozenset(done)


class Replay:
    """One run.

    Args:
        settings: the topics; none is created.
        selection: which dead letters.
        max_replays: a record that was replayed this often stays.
        rate: records a second at most; None: as fast as the broker takes them.
        limit: records at most; None: all.
        execute: False: only look.
        clock: measures the rate.
        report: brought up to date, also when this ends with an error.
    """

    def __init__(
        self,
        settings: Settings,
        selection: Selection,
        *,
        max_replays: int,
        rate: float | None,
        limit: int | None,
        execute: bool,
        clock: Clock,
        report: Report,
        on_progress: Callable[[Report], None] = lambda _: None,
    ) -> None:
        self._kafka = settings.kafka.model_copy(update={"create_topics": False})
        self._input = settings.input.topic
        self._dead = settings.output.dead_letter_topic
        self._timeout_ms = settings.delivery.transaction_timeout_ms
        self._selection = selection
        self._max_replays = max_replays
        self._interval_s = 0.0 if rate is None else 1 / rate
        self._items = _TRANSACTION_ITEMS if rate is None else max(1, int(min(rate, 100)))
        self._left = limit
        self._execute = execute
        self._clock = clock
        self._next_s = clock.now_s()
        self.report = report
        self._on_progress = on_progress
        self._topics: dict[str, Topic] = {}
        self._limits = Limits(self._kafka, {})

    async def run(self) -> None:
        """Replay, or look; return when all is acknowledged.

        Raises:
            ConfigError: a topic is missing.
            BrokerError: the brokers refuse or stay away, or another replay took over. What
                ``report.written`` says is written; run it again for the rest.
        """
        self._topics = dict(await ensure_topics(self._kafka, [self._dead, self._input]))
        self._limits = Limits(
            self._kafka, {name: topic.max_batch_bytes for name, topic in self._topics.items()}
        )
        for partition in range(self._topics[self._dead].partitions):
            if self._selection.includes_partition(partition) and self._left != 0:
                await self._partition(partition)

    async def _partition(self, partition: int) -> None:
        if not self._execute:
            await self._walk(partition, None)
            return
        name = f"{self._kafka.group_id}-replay-{self._dead}-{partition}"
        with mapped(f"starting the transactions of {self._dead}-{partition}"):
            producer = await start_producer(
                self._kafka,
                timeout_s=self._timeout_ms / 1000,
                transactional_id=name,
                transaction_timeout_ms=self._timeout_ms,
            )
        try:
            await self._walk(partition, producer)
        except BaseException:
            await abandon(producer)
            raise
        await stop_producer(producer)

    async def _walk(self, partition: int, producer: AIOKafkaProducer | None) -> None:
        scanner = Scanner(self._kafka, self._dead, self._clock)
        until = await scanner.end(partition)  # what this run's replays cause is left for the next
        done = await receipts(scanner, partition, until=until)
        chosen: list[_Choice] = []
        async with aclosing(scanner.records(partition, until=until)) as records:
            async for record in records:
                dead = read(record)
                if dead is None or not self._selection.includes(dead):
                    continue
                outbound = self._judged(dead, done)
                if outbound is None:
                    continue
                chosen.append(_Choice(dead, outbound))
                self._left = None if self._left is None else self._left - 1
                if self._is_full(chosen) or self._left == 0:
                    await self._write(producer, chosen)
                    chosen = []
                if self._left == 0:
                    return
        await self._write(producer, chosen)

    def _judged(self, dead: DeadLetter, done: frozenset[int]) -> Outbound | None:
        """Count a dead letter; return what to write if it may go."""
        verdict: str = judge(
            dead, receipted=done, input_topic=self._input, max_replays=self._max_replays
        )
        outbound = None
        if verdict == "replay":
            outbound = replayed(dead, input_topic=self._input)
            if outbound.size_bytes > self._limits.record_bytes(self._input):
                verdict, outbound = "too_large", None
        self.report.found[dead.reason, verdict] += 1
        return outbound

    def _is_full(self, chosen: Sequence[_Choice]) -> bool:
        size_bytes = sum(choice.outbound.size_bytes for choice in chosen)
        return len(chosen) >= self._items or size_bytes >= _TRANSACTION_BYTES

    async def _write(self, producer: AIOKafkaProducer | None, chosen: Sequence[_Choice]) -> None:
        if producer is None or not chosen:
            return
        await self._in_time(len(chosen))
        try:
            with mapped(f"replaying to {self._input}"):
                async with asyncio.timeout(self._timeout_ms / 1000):
                    await self._transact(producer, chosen)
        except (AssertionError, BrokerError) as error:
            # AssertionError: aiokafka, a state that a fenced producer cannot leave
            why = str(error) if isinstance(error, BrokerError) else "another replay took over"
            raise BrokerError(
                f"{why}; {self.report.written} record(s) were replayed, run it again for the rest"
            ) from error
        self.report.written += len(chosen)
        self._on_progress(self.report)

    async def _transact(self, producer: AIOKafkaProducer, chosen: Sequence[_Choice]) -> None:
        await producer.begin_transaction()
        sent: list[asyncio.Future[Any]] = []
        by_partition: dict[int, list[Outbound]] = {}
        for dead, outbound in chosen:
            home = 0 if dead.source is None else dead.source.partition
            number = home % self._topics[self._input].partitions
            by_partition.setdefault(number, []).append(outbound)
        for number, mine in by_partition.items():
            sent += [
                await write(producer, [mine[index] for index in indexes], number)
                for indexes in batches(mine, range(len(mine)), self._limits)
            ]
        places = [dead.record.position for dead, _ in chosen]
        sent.append(await write(producer, [receipt(places)], places[0].partition))
        # before the commit, which would succeed without them: see ``kafka_transactions``
        for result in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        await producer.commit_transaction()

    async def _in_time(self, items: int) -> None:
        wait_s = self._next_s - self._clock.now_s()
        if wait_s > 0:
            await self._clock.sleep(wait_s)
        # after a stop of the broker there is no burst to catch up
        self._next_s = max(self._next_s, self._clock.now_s()) + items * self._interval_s
