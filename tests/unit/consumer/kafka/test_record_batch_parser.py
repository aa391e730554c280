"""One record that cannot be decoded costs that record and no other."""

from typing import Any

import pytest
from aiokafka.errors import KafkaError
from aiokafka.record.default_records import DefaultRecordBatch

from streamlabel.consumer.kafka.record_batch_parser import parse_batches
from tests.kafka_bytes import batch, with_bytes

PLAIN, GZIP, SNAPPY, LZ4, ZSTD = range(5)


def test_records_are_read_as_they_were_written() -> None:
    found = parse_batches(batch([b"a", None], base=7, headers=[("h", b"1"), ("none", None)]), 0)
    first, second = found.records
    assert (first.offset, first.key, first.value) == (7, b"key", b"a")
    assert first.headers == (("h", b"1"), ("none", None))
    assert first.timestamp_ms == 1_700_000_000_000
    assert (second.offset, second.value) == (8, None)
    assert found.next_offset == 9


@pytest.mark.parametrize("codec", [PLAIN, GZIP, SNAPPY, LZ4, ZSTD])
def test_a_bad_header_name_hides_only_its_own_record(codec: int) -> None:
    buffer = batch([b"a", b"b", b"c"], bad=1, codec=codec)
    found = parse_batches(buffer, 0)
    assert [record.value for record in found.records] == [b"a", None, b"c"]
    assert [record.undecodable is not None for record in found.records] == [False, True, False]
    assert found.records[1].offset == 1


def test_two_bad_neighbours_are_two_records() -> None:
    buffer = batch([b"a", b"b"], headers=[("name-1", b"")])
    buffer = with_bytes(buffer, b"name-1", b"name-\xff")
    assert [record.offset for record in parse_batches(buffer, 0).records] == [0, 1]


def test_reading_begins_in_the_middle_of_a_batch() -> None:
    found = parse_batches(batch([b"a", b"b", b"c"], base=10), 11)
    assert [record.offset for record in found.records] == [11, 12]


def test_a_cut_off_batch_is_left_for_the_next_fetch() -> None:
    whole, cut = batch([b"a"]), batch([b"b"], base=1)
    found = parse_batches(whole + cut[:-3], 0)
    assert [record.offset for record in found.records] == [0]
    assert found.next_offset == 1


def test_a_wrong_checksum_is_an_error_and_not_a_skipped_record() -> None:
    buffer = bytearray(batch([b"abc"]))
    buffer[-4] ^= 1
    with pytest.raises(KafkaError, match="checksum"):
        parse_batches(bytes(buffer), 0)


def test_what_cannot_be_decompressed_is_named_offset_by_offset() -> None:
    buffer = batch([b"a" * 50, b"a" * 50], codec=ZSTD)
    broken = with_bytes(buffer, buffer[61:65], b"\x00\x00\x00\x00")
    found = parse_batches(broken, 0)
    assert [record.offset for record in found.records] == [0, 1]
    assert all("decompression" in (record.undecodable or "") for record in found.records)


def test_aborted_transactions_and_markers_are_skipped() -> None:
    aborted = batch([b"gone"], base=0, producer=5)
    abort = control(base=1, producer=5, commit=False)
    kept = batch([b"kept"], base=2, producer=5)
    commit = control(base=3, producer=5, commit=True)
    found = parse_batches(aborted + abort + kept + commit, 0, [(5, 0)])
    assert [record.value for record in found.records] == [b"kept"]
    assert found.next_offset == 4


def control(*, base: int, producer: int, commit: bool) -> bytes:
    key = b"\x00\x00" + (b"\x00\x01" if commit else b"\x00\x00")
    return batch([b"\x00" * 6], base=base, producer=producer, key=key, control=True)


def test_the_builder_of_these_tests_writes_what_aiokafka_reads() -> None:
    records: list[Any] = list(DefaultRecordBatch(batch([b"a"], base=3)))
    assert [record.value for record in records] == [b"a"]
