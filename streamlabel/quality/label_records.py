"""Reads labels and reviews from files and topics, to be joined by record id."""

from collections import Counter
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from streamlabel.config.kafka import KafkaSettings, OutputSettings
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.kafka.partition_scan import Scanner
from streamlabel.consumer.kafka.topics import find_topics
from streamlabel.consumer.output.output_reader import OutputReader
from streamlabel.errors import ConfigError
from streamlabel.quality.comparing import Answer, Comparison, Key
from streamlabel.quality.judging import Judged
from streamlabel.quality.truth import Truth

__all__ = ["Joined", "join", "records_of_file", "records_of_topic"]

_SCHEMAS = ("streamlabel.label/", "streamlabel.review/")


class _Said(NamedTuple):
    labels: Answer
    accepted: bool  # it did not have to go to review; being drawn for the audit changes nothing


class _Read(NamedTuple):
    key: Key
    said: _Said


Records = AsyncGenerator[_Read | None, None]


@dataclass(frozen=True, slots=True)
class Joined:
    """Two sides, joined by record id.

    Attributes:
        comparison: of the records that both have.
        alone: by side: records that the other side does not have. A record that is written twice,
            as with at least once, counts each time on the first side.
        changed: by side: records that came again with other labels; the last ones count.
        unread: by side: records that are neither labels nor reviews of streamlabel.
        judged: the records whose true labels are known, in the order of the truth.
    """

    comparison: Comparison
    alone: tuple[int, int]
    changed: tuple[int, int]
    unread: tuple[int, int]
    judged: Sequence[Judged] = ()


async def records_of_file(path: Path) -> Records:
    """Yield what is in a file of JSON lines; None for a line that is no label and no review.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        with path.open("rb") as lines:
            for line in _filled(lines):
                yield _parsed(line)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error


async def records_of_topic(
    kafka: KafkaSettings, topic: str, clock: Clock, output: OutputSettings
) -> Records:
    """Yield what is on a topic, up to its present end; joins no group, commits nothing.

    Args:
        kafka: which cluster.
        topic: of labels or reviews.
        clock: for the waits of the readers.
        output: whose format the records have.

    Raises:
        ConfigError: the topic does not exist.
        BrokerError: the brokers cannot be reached, or refuse.
    """
    found = await find_topics(kafka, [topic])
    if topic not in found:
        raise ConfigError(f"topic {topic} does not exist, or this user may not see it")
    scanner = Scanner(kafka, topic, clock)
    outputs = OutputReader(output, clock)
    for partition in range(found[topic].partitions):
        until = await scanner.end(partition)
        async with aclosing(scanner.records(partition, until=until)) as records:
            async for each in records:
                [record] = await outputs.plain([each])
                yield _parsed(record.value)


async def join(
    first: Collection[Records],
    second: Collection[Records],
    truth: Truth,
) -> Joined:
    """Join two sides; the answers of the second one are kept in memory, and their partners.

    Args:
        first: one or several files or topics.
        second: likewise; the smaller side.
        truth: true labels, where they are known.
    """
    counts = Counter[str]()
    kept: dict[Key, _Said] = {}
    async for read in _all(second, counts, "unread second"):
        counts["changed second"] += kept.get(read.key, read.said).labels != read.said.labels
        kept[read.key] = read.said
    partners: dict[Key, _Said] = {}
    async for read in _all(first, counts, "unread first"):
        if read.key not in kept:
            counts["alone first"] += 1
            continue
        counts["changed first"] += partners.get(read.key, read.said).labels != read.said.labels
        partners[read.key] = read.said
    comparison = Comparison()
    judged: dict[Key, list[Judged]] = {}
    for key, said in partners.items():
        known, both = truth.of(key), (said, kept[key])
        comparison.count(said.labels, both[1].labels, None if known is None else known.labels)
        if known is not None:
            wrong = both[0].labels != known.labels, both[1].labels != known.labels
            found = Judged(wrong, (both[0].accepted, both[1].accepted), known.weight)
            judged.setdefault(key if key in truth.known else Key(key.id, ""), []).append(found)
    return Joined(
        comparison,
        alone=(counts["alone first"], len(kept) - len(partners)),
        changed=(counts["changed first"], counts["changed second"]),
        unread=(counts["unread first"], counts["unread second"]),
        judged=[each for key in truth.known for each in judged.get(key, ())],
    )


async def _all(
    sources: Collection[Records], counts: Counter[str], unread: str
) -> AsyncGenerator[_Read, None]:
    shared: dict[_Said, _Said] = {}  # few different ones, for millions of records
    for source in sources:
        async with aclosing(source):
            async for read in source:
                if read is None:
                    counts[unread] += 1
                else:
                    yield _Read(read.key, shared.setdefault(read.said, read.said))


def _filled(lines: Any) -> Iterator[bytes]:  # noqa: ANN401 a binary file
    return (line for line in lines if line.strip())


def _parsed(value: bytes | None) -> _Read | None:
    try:
        message = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(message, dict) or not str(message.get("schema")).startswith(_SCHEMAS):
        return None
    name, label, labels = (message.get(field) for field in ("id", "label", "labels"))
    if not isinstance(name, str):
        return None
    if not isinstance(labels, list):
        labels = [] if label is None else [label]
    reasons = message.get("reasons")
    doubts = {*map(str, reasons)} - {"audit"} if isinstance(reasons, list) else set()
    # a text may have none of several labels
    is_answered = label is not None or message.get("confidence") is not None
    said = _Said(frozenset(map(str, labels)), is_answered and not doubts)
    return _Read(Key(name, str(message.get("task") or "")), said)
