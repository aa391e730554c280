"""Writes dead letters back to their input topics, each of them once: ``streamlabel dlq replay``.

The partitions of the dead-letter topic are replayed one after the other. Starting a partition's
transactional producer ends the open transaction of an earlier replay and fences a replay that is
still running; only then are the receipts read, which list what has been replayed. Records and their
receipt are one transaction (see ``replay_transactions``): after an interruption at any time, the
next replay continues exactly where the last one stopped.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from streamlabel.config.settings import Settings
from streamlabel.consumer.core.ports import Clock, Outbound
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.kafka.access import refuse_replay
from streamlabel.consumer.kafka.errors import mapped
from streamlabel.consumer.kafka.limits import SizeLimits
from streamlabel.consumer.kafka.matching_topics import with_topics_found
from streamlabel.consumer.kafka.partition_scan import Scanner
from streamlabel.consumer.kafka.producer import (
    abandon,
    start_transactional,
    stop_producer,
)
from streamlabel.consumer.kafka.replay_transactions import Choice, ReplayTransactions
from streamlabel.consumer.kafka.topics import Topic, ensure_topics
from streamlabel.consumer.kafka.transactional_ids import replay_id, unslashed_replay_id
from streamlabel.consumer.output.dead_letter_reader import (
    DeadLetter,
    Selection,
    judge,
    read,
    receipted,
    replayed,
)
from streamlabel.errors import BrokerError

__all__ = ["Replay", "Report", "receipts"]

# Records per transaction: the unit of the rate limit, and of what an interruption discards.
_TRANSACTION_ITEMS: Final = 100
_TRANSACTION_BYTES: Final = 4 * 1024 * 1024


@dataclass(slots=True)
class Report:
    """The progress so far.

    Attributes:
        found: (reason, decision) -> number of dead letters; decisions of
            ``output.dead_letter_reader``, ``too_large``, and ``refused``: by a rule of the input
            topic.
        written: number of records that this run has replayed.
    """

    found: Counter[tuple[str, str]] = field(default_factory=Counter)
    written: int = 0


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
        selection: which dead letters to replay.
        max_replays: records that were replayed this often are not replayed again.
        rate: maximum records per second; None: as fast as the broker accepts them.
        limit: maximum number of records; None: all.
        execute: False: a dry run, which writes nothing.
        clock: measures the rate.
        report: updated, also when this ends with an error.
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
        self._settings = settings
        self._kafka = settings.kafka.model_copy(update={"create_topics": False})
        self._inputs: tuple[str, ...] = ()
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
        self._limits = SizeLimits(self._kafka, {})

    async def run(self) -> None:
        """Replay, or count in a dry run; return when everything is acknowledged.

        Raises:
            ConfigError: a topic is missing.
            BrokerError: the brokers refuse or are unreachable, or another replay took over.
                ``report.written`` records are written; run it again for the rest.
        """
        self._settings = await with_topics_found(self._settings)
        self._inputs = tuple(self._settings.input.weights)
        await refuse_replay(self._settings, execute=self._execute)
        self._topics = dict(await ensure_topics(self._kafka, [self._dead, *self._inputs]))
        self._limits = SizeLimits(
            self._kafka, {name: topic.max_batch_bytes for name, topic in self._topics.items()}
        )
        for partition in range(self._topics[self._dead].partitions):
            if self._selection.includes_partition(partition) and self._left != 0:
                await self._partition(partition)

    async def _partition(self, partition: int) -> None:
        if not self._execute:
            await self._walk(partition, None)
            return
        place = TopicPartition(self._dead, partition)
        with mapped(f"starting the transactions of {self._dead}-{partition}"):
            producer = await start_transactional(
                self._kafka,
                replay_id(place),
                ending=unslashed_replay_id(self._kafka.group_id, place),
                transaction_timeout_ms=self._timeout_ms,
            )
        try:
            transactions = ReplayTransactions(
                producer,
                {topic: self._topics[topic].partitions for topic in self._inputs},
                limits=self._limits,
                transaction_timeout_ms=self._timeout_ms,
            )
            await self._walk(partition, transactions)
        except BaseException:
            await abandon(producer)
            raise
        await stop_producer(producer)

    async def _walk(self, partition: int, transactions: ReplayTransactions | None) -> None:
        scanner = Scanner(self._kafka, self._dead, self._clock)
        until = await scanner.end(
            partition
        )  # dead letters that this run causes are for the next one
        done = await receipts(scanner, partition, until=until)
        chosen: list[Choice] = []
        async with aclosing(scanner.records(partition, until=until)) as records:
            async for record in records:
                dead = read(record)
                if dead is None or not self._selection.includes(dead):
                    continue
                outbound = self._judged(dead, done)
                if outbound is None:
                    continue
                chosen.append(Choice(dead, outbound))
                self._left = None if self._left is None else self._left - 1
                if self._is_full(chosen) or self._left == 0:
                    await self._write(transactions, chosen)
                    chosen = []
                if self._left == 0:
                    return
        await self._write(transactions, chosen)

    def _judged(self, dead: DeadLetter, done: frozenset[int]) -> Outbound | None:
        """Count a dead letter; return the record to write if it may be replayed."""
        verdict: str = judge(
            dead, receipted=done, input_topics=self._inputs, max_replays=self._max_replays
        )
        outbound = None
        if verdict == "replay":
            outbound = replayed(dead)
            if outbound.size_bytes > self._limits.record_bytes(outbound.topic):
                verdict, outbound = "too_large", None
        self.report.found[dead.reason, verdict] += 1
        return outbound

    def _is_full(self, chosen: Sequence[Choice]) -> bool:
        size_bytes = sum(choice.outbound.size_bytes for choice in chosen)
        return len(chosen) >= self._items or size_bytes >= _TRANSACTION_BYTES

    async def _write(
        self, transactions: ReplayTransactions | None, chosen: Sequence[Choice]
    ) -> None:
        if transactions is None or not chosen:
            return
        await self._in_time(len(chosen))
        try:
            with mapped(f"replaying to {', '.join(self._inputs)}"):
                stay = await transactions.write(chosen)
        except (AssertionError, BrokerError) as error:
            # AssertionError: raised by aiokafka in a state that a fenced producer cannot leave
            why = str(error) if isinstance(error, BrokerError) else "another replay took over"
            raise BrokerError(
                f"{why}; {self.report.written} record(s) were replayed, run it again for the rest"
            ) from error
        for dead, _ in stay:
            self.report.found -= Counter({(dead.reason, "replay"): 1})
            self.report.found[dead.reason, "refused"] += 1
        self.report.written += len(chosen) - len(stay)
        self._on_progress(self.report)

    async def _in_time(self, items: int) -> None:
        wait_s = self._next_s - self._clock.now_s()
        if wait_s > 0:
            await self._clock.sleep(wait_s)
        # after an outage of the broker there is no burst to catch up
        self._next_s = max(self._next_s, self._clock.now_s()) + items * self._interval_s
