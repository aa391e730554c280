"""Which dead letters may go back, as what, and how receipts remember it."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import Headers, Position, SourceRecord
from streamlabel.consumer.observability.terminal_format import (
    cells,
    dead_letter_cells,
    dead_letter_json,
)
from streamlabel.consumer.output.dead_letter_reader import (
    REASONS,
    DeadLetter,
    Selection,
    judge,
    read,
    receipt,
    receipted,
    replayed,
)
from streamlabel.consumer.output.dead_letters import dead_letter
from streamlabel.errors import RecordError

MEGABYTE = 1_000_000
SOURCE = Position("texts", 2, 77)


def source(
    value: bytes | None = b'{"text": "hello"}',
    headers: Headers = (("traceparent", b"00-1-2-01"), ("x", None)),
) -> SourceRecord:
    return SourceRecord(SOURCE, b"user-1", value, headers, 1_700_000_000_000, 5.0)


def died(
    record: SourceRecord, *, reason: str = "inference_error", limit_bytes: int = MEGABYTE
) -> Outbound:
    error = RecordError(reason, "the model fails", 2)
    return dead_letter(record, topic="dead", error=error, version="1", limit_bytes=limit_bytes)


def stored(outbound: Outbound, *, offset: int = 9, partition: int = 0) -> SourceRecord:
    """What a reader of the topic sees."""
    at = Position(outbound.topic, partition, offset)
    return SourceRecord(at, outbound.key, outbound.value, outbound.headers, 1_700_000_001_000, 6.0)


def read_back(outbound: Outbound, *, offset: int = 9) -> DeadLetter:
    dead = read(stored(outbound, offset=offset))
    assert dead is not None
    return dead


def verdict(dead: DeadLetter, *, done: frozenset[int] = frozenset(), max_replays: int = 3) -> str:
    return judge(dead, receipted=done, input_topics=["texts"], max_replays=max_replays)


def again(outbound: Outbound) -> SourceRecord:
    """The record on the input topic after a replay."""
    return SourceRecord(SOURCE, outbound.key, outbound.value, outbound.headers, 1, 1.0)


def test_a_dead_letter_says_what_it_was() -> None:
    dead = read_back(died(source()))
    assert (dead.reason, dead.source, dead.attempts) == ("inference_error", SOURCE, 2)
    assert (dead.replays, dead.is_complete, dead.message) == (0, True, "the model fails")


def test_what_is_replayed_is_the_record_and_one_count() -> None:
    outbound = replayed(read_back(died(source())))
    assert (outbound.topic, outbound.key, outbound.value) == ("texts", b"user-1", source().value)
    assert outbound.headers == (*source().headers, ("streamlabel-replays", b"1"))


def test_every_round_counts_and_leaves_no_other_mark_of_ours() -> None:
    record = source()
    for count in range(1, 5):
        outbound = replayed(read_back(died(record)))
        assert outbound.headers == (*source().headers, ("streamlabel-replays", b"%d" % count))
        record = again(outbound)


@pytest.mark.parametrize(("replays", "expected"), [(2, "replay"), (3, "exhausted")])
def test_a_record_that_comes_back_stays_after_its_last_replay(replays: int, expected: str) -> None:
    marked = source(headers=(("streamlabel-replays", b"%d" % replays),))
    assert verdict(read_back(died(marked))) == expected


def test_the_count_survives_when_all_other_headers_are_left_out() -> None:
    marked = source(b"x" * 5000, headers=(("big", b"h" * 5000), ("streamlabel-replays", b"2")))
    dead = read_back(died(marked, limit_bytes=1500))
    assert (dead.replays, dead.is_complete) == (2, False)


@pytest.mark.parametrize("count", [b"", b"-5", b"1e9", b"\xff", None, b"9" * 5000])
def test_a_count_that_we_would_not_write_is_none(count: bytes | None) -> None:
    assert read_back(died(source(headers=(("streamlabel-replays", count),)))).replays == 0


@pytest.mark.parametrize(
    ("record", "limit_bytes"),
    [
        (source(None), MEGABYTE),
        (source(b"x" * 5000), 1500),
        (source(headers=tuple((f"h{n}", b"v" * 30) for n in range(70))), 3000),
    ],
    ids=["no value", "value left out", "headers left out"],
)
def test_what_is_not_whole_is_not_replayed(record: SourceRecord, limit_bytes: int) -> None:
    assert verdict(read_back(died(record, limit_bytes=limit_bytes))) == "incomplete"


def test_a_record_of_another_topic_is_not_replayed_onto_ours() -> None:
    dead = read_back(died(source()))
    assert judge(dead, receipted=frozenset(), input_topics=["x"], max_replays=3) == "elsewhere"


def test_a_source_that_cannot_be_read_is_elsewhere() -> None:
    outbound = died(source())
    broken = Outbound(
        outbound.topic,
        None,
        b"x",
        (*outbound.headers, ("streamlabel-source-offset", b"-1")),
        SOURCE,
    )
    dead = read_back(broken)
    assert (dead.source, verdict(dead)) == (None, "elsewhere")


def test_what_has_a_receipt_is_not_replayed_again() -> None:
    assert verdict(read_back(died(source()), offset=9), done=frozenset({9})) == "replayed"


def test_a_strangers_record_is_no_dead_letter() -> None:
    assert read(source()) is None
    assert list(receipted(source())) == []


@given(st.sets(st.integers(0, 5000), min_size=1, max_size=200))
def test_a_receipt_names_exactly_the_offsets_it_was_made_of(offsets: set[int]) -> None:
    outbound = receipt(Position("dead", 3, offset) for offset in offsets)
    record = stored(outbound, offset=max(offsets) + 1, partition=3)
    assert set(receipted(record)) == offsets
    assert read(record) is None
    assert orjson.loads(outbound.value or b"")["schema"] == "streamlabel.replayed/v1"
    assert f"{len(offsets)} dead letter(s) were replayed" in cells("dead-letter", record)[-1]


def test_no_sender_of_texts_can_forge_a_receipt() -> None:
    forged = receipt([Position("dead", 0, 3), Position("dead", 0, 4)])
    record = source(forged.value, headers=forged.headers)
    assert list(receipted(stored(died(record), offset=100))) == []


@pytest.mark.parametrize(
    "value", [None, b"", b"[]", b"7", b'{"offsets": [1]}', b'{"offsets": [["a", 1]]}', b"\xff"]
)
def test_a_receipt_that_is_not_ours_names_nothing(value: bytes | None) -> None:
    at = Position("dead", 0, 5)
    record = SourceRecord(at, None, value, (("streamlabel-replayed", b"1"),), 1, 1.0)
    assert list(receipted(record)) == []


def test_a_receipt_cannot_name_what_is_not_there_yet() -> None:
    at = Position("dead", 0, 5)
    value = b'{"offsets": [[-3, 999999999999]]}'
    record = SourceRecord(at, None, value, (("streamlabel-replayed", b"1"),), 1, 1.0)
    assert list(receipted(record)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), True),
        (Selection(reasons=frozenset({"inference_error"})), True),
        (Selection(reasons=frozenset({"schema"})), False),
        (Selection(partitions=frozenset({0})), True),
        (Selection(partitions=frozenset({1})), False),
        (Selection(since_ms=1_700_000_001_000), True),
        (Selection(since_ms=1_700_000_001_001), False),
        (Selection(until_ms=1_700_000_001_001), True),
        (Selection(until_ms=1_700_000_001_000), False),
    ],
)
def test_a_selection_is_by_reason_partition_and_time(selection: Selection, expected: bool) -> None:
    assert selection.includes(read_back(died(source()))) is expected


def test_every_reason_that_we_write_can_be_selected() -> None:
    assert "inference_error" in REASONS
    assert len(REASONS) == 13


def test_a_row_cannot_play_tricks_on_a_terminal() -> None:
    outbound = died(source())
    hostile = ("streamlabel-error-message", "\x1b[2J\u202e".encode())
    dead = read_back(Outbound("dead", None, b"x", (*outbound.headers, hostile), SOURCE))
    row = "  ".join(dead_letter_cells(dead, was_replayed=False))
    assert "\\x1b[2J\\u202e" in row
    assert row.isprintable()


def test_json_of_a_dead_letter_holds_no_content() -> None:
    document = json.loads(dead_letter_json(read_back(died(source())), was_replayed=True))
    assert document["source"] == "texts-2-77"
    assert (document["value_bytes"], document["was_replayed"]) == (17, True)
    assert "hello" not in str(document)
