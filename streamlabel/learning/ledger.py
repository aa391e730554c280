"""Reads verdicts from files and topics: the last one of each review, in order of arrival."""

import asyncio
import heapq
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from streamlabel.config.kafka import KafkaSettings, OutputSettings
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.core.records import SourceRecord
from streamlabel.consumer.kafka.partition_scan import Scanner
from streamlabel.consumer.kafka.topics import find_topics
from streamlabel.consumer.output.output_reader import OutputReader
from streamlabel.consumer.output.verdict import VerdictMessage, read_verdict
from streamlabel.errors import ConfigError, VerdictError

__all__ = ["Ledger", "verdicts_of_file", "verdicts_of_topic"]

_LINE_FEED = b"\n"


@dataclass(slots=True)
class Ledger:
    """The verdicts of many reviews.

    Attributes:
        verdicts: by review id, in order of the first verdict about it; a later verdict takes the
            place of the earlier one, and a withdrawn one is not in it.
        unread: number of messages that are no verdicts of this version.
        fault: what is wrong with the first of them.
    """

    verdicts: dict[str, VerdictMessage] = field(default_factory=dict)
    unread: int = 0
    fault: str = ""

    def add(self, value: bytes) -> None:
        """Add the value of a message; one that cannot be read is counted."""
        try:
            verdict = read_verdict(value)
        except VerdictError as error:
            self.unread += 1
            self.fault = self.fault or str(error)
        else:
            self.verdicts[verdict.review_id] = verdict

    def withdraw(self, review_id: str) -> None:
        """Remove the verdict of a review, if there is one."""
        self.verdicts.pop(review_id, None)


def verdicts_of_file(path: Path) -> Ledger:
    """Return the verdicts in a file of JSON lines.

    Raises:
        ConfigError: it cannot be read, or no line is a verdict.
    """
    ledger = Ledger()
    try:
        with path.open("rb") as lines:
            for line in lines:
                if line.strip():
                    ledger.add(line.rstrip(b"\r" + _LINE_FEED))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    return _not_empty(ledger, str(path))


async def verdicts_of_topic(
    kafka: KafkaSettings, topic: str, clock: Clock, output: OutputSettings | None = None
) -> Ledger:
    """Return the verdicts on a topic up to its present end; joins no group, commits nothing.

    Partitions are merged by the time of their records, so that verdicts come in order of arrival.

    Args:
        kafka: which cluster.
        topic: of verdicts.
        clock: for the waits of the readers.
        output: whose format the verdicts have; None: JSON.

    Raises:
        ConfigError: the topic does not exist, or no message on it is a verdict.
        BrokerError: the brokers cannot be reached, or refuse.
    """
    found = await find_topics(kafka, [topic])
    if topic not in found:
        raise ConfigError(f"topic {topic} does not exist, or this user may not see it")
    scanner = Scanner(kafka, topic, clock)
    parts = await asyncio.gather(*(_read(scanner, n) for n in range(found[topic].partitions)))
    ledger = Ledger()
    outputs = OutputReader(output or OutputSettings(), clock)
    for record in await outputs.plain(list(_merged(parts))):
        if record.value is not None:
            ledger.add(record.value)
        elif record.key is not None:
            ledger.withdraw(record.key.decode("utf-8", "replace"))
    return _not_empty(ledger, f"topic {topic}")


async def _read(scanner: Scanner, partition: int) -> list[SourceRecord]:
    until = await scanner.end(partition)
    async with aclosing(scanner.records(partition, until=until)) as records:
        return [record async for record in records]


def _merged(parts: Iterable[list[SourceRecord]]) -> Iterator[SourceRecord]:
    """Yield records of several partitions by time; each partition stays in order."""
    timed = []
    for part in parts:
        latest = 0
        rows = []
        for record in part:  # times may go back a little within a partition, offsets do not
            latest = max(latest, record.timestamp_ms)
            rows.append((latest, record.position.partition, record.position.offset, record))
        timed.append(rows)
    return (row[3] for row in heapq.merge(*timed, key=lambda row: row[:3]))


def _not_empty(ledger: Ledger, where: str) -> Ledger:
    if ledger.unread and not ledger.verdicts:
        raise ConfigError(
            f"{where}: has no verdict of the schema streamlabel.verdict/v1: {ledger.fault}"
        )
    return ledger
