"""Parses dead letters, and decides whether they may be replayed to the input topic. Pure.

A *receipt* records that dead letters were replayed: it is written to the same partition of the
dead-letter topic, in the same transaction as the replayed records. So no state is needed elsewhere,
and a receipt, which is younger than the dead letters that it names, is not deleted before them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal, get_args

import orjson

from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import DeadLetterReason, Headers, Position, SourceRecord
from streamlabel.consumer.output.headers import OURS, REPLAYS, replays_of

__all__ = [
    "REASONS",
    "DeadLetter",
    "ReplayDecision",
    "Selection",
    "judge",
    "read",
    "receipt",
    "receipted",
    "replayed",
]

REASONS: Final[tuple[str, ...]] = get_args(DeadLetterReason)

ReplayDecision = Literal[
    "replay",  # it may be replayed
    "replayed",  # it was replayed before
    "incomplete",  # value, key or headers were left out, or there was no value
    "exhausted",  # it was replayed too often and became a dead letter again
    "elsewhere",  # its record was read from another topic
]

_REASON: Final = OURS + "error-reason"
_RECEIPT: Final = OURS + "replayed"
_SCHEMA: Final = "streamlabel.replayed/v1"
_OMISSIONS: Final = ("value-omitted", "key-omitted", "headers-dropped")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record of the dead-letter topic.

    Attributes:
        record: the record on the dead-letter topic.
        reason: why it is a dead letter; other versions may have other reasons.
        source: position of the original record; None if that cannot be parsed.
        attempts: how often it was tried; 0 if that cannot be parsed.
        replays: how often it was replayed before it became this dead letter.
        is_complete: it has the key, value and headers of the original record, which had a value.
    """

    record: SourceRecord
    reason: str
    message: str
    source: Position | None
    attempts: int
    replays: int
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """Selects dead letters.

    Attributes:
        reasons: empty: all.
        partitions: of the dead-letter topic; empty: all.
        since_ms: Kafka's timestamp of the dead letter, when it was written; inclusive.
        until_ms: the same; exclusive.
    """

    reasons: frozenset[str] = frozenset()
    partitions: frozenset[int] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None

    def includes_partition(self, partition: int) -> bool:
        """Return whether dead letters of this partition can be selected."""
        return not self.partitions or partition in self.partitions

    def includes(self, dead: DeadLetter) -> bool:
        """Return whether this dead letter is selected."""
        died_ms = dead.record.timestamp_ms
        return (
            (not self.reasons or dead.reason in self.reasons)
            and self.includes_partition(dead.record.position.partition)
            and (self.since_ms is None or died_ms >= self.since_ms)
            and (self.until_ms is None or died_ms < self.until_ms)
        )


def read(record: SourceRecord) -> DeadLetter | None:
    """Return a record as a dead letter; None for a receipt, or a record not written by us."""
    if not any(name == _REASON for name, _ in record.headers):
        return None
    ours = {  # the last header of a name counts: the record may have been a dead letter before
        name.removeprefix(OURS): (value or b"").decode("utf-8", "replace")
        for name, value in record.headers
        if name.startswith(OURS)
    }
    topic, partition, offset = (ours.get(f"source-{part}", "") for part in Position._fields)
    place = (_number(partition), _number(offset))
    return DeadLetter(
        record=record,
        reason=ours["error-reason"],
        message=ours.get("error-message", ""),
        source=None
        if not topic or None in place
        else Position(topic, place[0] or 0, place[1] or 0),
        attempts=_number(ours.get("attempts", "")) or 0,
        replays=replays_of(record.headers),
        is_complete=record.value is not None and not any(name in ours for name in _OMISSIONS),
    )


def judge(
    dead: DeadLetter, *, receipted: frozenset[int], input_topics: Collection[str], max_replays: int
) -> ReplayDecision:
    """Return whether a dead letter may be replayed, or the first reason why not.

    Args:
        dead: the dead letter.
        receipted: offsets in its partition that were replayed.
        input_topics: a dead letter of one of these is replayed to it.
        max_replays: a record that was replayed this often is not replayed again.
    """
    if dead.record.position.offset in receipted:
        return "replayed"
    if dead.source is None or dead.source.topic not in input_topics:
        return "elsewhere"
    if not dead.is_complete:
        return "incomplete"
    return "exhausted" if dead.replays >= max_replays else "replay"


def replayed(dead: DeadLetter) -> Outbound:
    """Return the original record, with one more header that counts its replays."""
    record = dead.record
    if dead.source is None:
        raise AssertionError("a dead letter of unknown source is not replayed. This is a bug.")
    headers = tuple(header for header in record.headers if not header[0].startswith(OURS))
    headers += ((REPLAYS, str(dead.replays + 1).encode()),)
    return Outbound(dead.source.topic, record.key, record.value, headers, record.position)


def receipt(positions: Iterable[Position]) -> Outbound:
    """Return the receipt for these dead letters, all of one partition."""
    places = sorted(positions)
    ranges = list(_ranges([place.offset for place in places]))
    value = orjson.dumps({"schema": _SCHEMA, "offsets": ranges})
    headers: Headers = (
        ("content-type", b"application/json"),
        (_RECEIPT, str(len(places)).encode()),
    )
    return Outbound(places[0].topic, None, value, headers, places[0])


def receipted(record: SourceRecord) -> Iterator[int]:
    """Yield the offsets that a receipt lists; nothing if the record is not a receipt.

    A dead letter never is one, whatever headers its record had, because any producer can set them.
    """
    names: Mapping[str, bytes | None] = dict(record.headers)
    if _RECEIPT not in names or _REASON in names:
        return
    try:
        message = orjson.loads(record.value or b"")
        ranges = [(int(first), int(last)) for first, last in message["offsets"]]
    except (ValueError, TypeError, KeyError):  # not written by us
        return
    for first, last in ranges:
        yield from range(max(first, 0), min(last + 1, record.position.offset))


def _ranges(offsets: list[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last of each run in sorted ``offsets``."""
    for _, run in groupby(enumerate(offsets), key=lambda pair: pair[1] - pair[0]):
        members = [offset for _, offset in run]
        yield members[0], members[-1]


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
