"""Reads past records that aiokafka cannot decode.

One header name that is not UTF-8 makes every ``getmany`` raise without advancing the position, and
the valid records of the same fetch are lost (also those of other partitions, whose positions did
advance). So after such an error one fetch is read here, by a parser that skips the record and not
its batch. Format: https://kafka.apache.org/documentation/#messageformat, version 2, the only one
of Kafka 4.
"""

import asyncio
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import TopicPartition as KafkaPartition
from aiokafka import codec
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, LeaderNotAvailableError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.util import calc_crc32c, decode_varint

from streamlabel.consumer.core.records import Headers, Position, SourceRecord
from streamlabel.consumer.kafka.clients import ends_well, start_client

__all__ = ["ParsedRecord", "ParsedRecords", "parse_batches", "read_undecodable"]

# base offset, length, leader epoch, magic, crc, attributes, last offset delta, first and maximum
# timestamp, producer id and epoch, base sequence, number of records
_BATCH: Final = struct.Struct(">qiibIhiqqqhii")
_BEFORE_LENGTH: Final = 12  # the length counts from here
_BEFORE_CRC: Final = 21  # the checksum covers everything from here
_TRANSACTIONAL: Final = 0x10
_CONTROL: Final = 0x20
_LOG_APPEND_TIME: Final = 0x08
_CODECS: Final = {
    1: codec.gzip_decode,
    2: codec.snappy_decode,
    3: codec.lz4_decode,
    4: codec.zstd_decode,
}
_READ_COMMITTED: Final = 1
_TIMEOUT_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class ParsedRecord:
    """A record, or the offset of one that cannot be read."""

    offset: int
    timestamp_ms: int
    key: bytes | None = None
    value: bytes | None = None
    headers: Headers = ()
    undecodable: str | None = None

    def at(self, partition: KafkaPartition, received_at_s: float) -> SourceRecord:
        """The record as ``poll`` returns it."""
        return SourceRecord(
            Position(partition.topic, partition.partition, self.offset),
            self.key,
            self.value,
            self.headers,
            self.timestamp_ms,
            received_at_s,
            undecodable=self.undecodable,
        )


@dataclass(frozen=True, slots=True)
class ParsedRecords:
    """The records of one fetch of a partition, and where the next fetch begins."""

    records: Sequence[ParsedRecord]
    next_offset: int


async def read_undecodable(
    options: Mapping[str, Any], positions: Mapping[KafkaPartition, int], *, max_bytes: int
) -> dict[KafkaPartition, ParsedRecords]:
    """Fetch each partition once from its position, and parse all readable records.

    Args:
        options: how to connect, as for a consumer.
        positions: where to begin.
        max_bytes: of one partition.

    Raises:
        KafkaError, OSError, TimeoutError: no answer, or a batch whose checksum is wrong.
    """
    client = AIOKafkaClient(**options)
    found: dict[KafkaPartition, ParsedRecords] = {}

    async def close() -> None:
        await ends_well(client.close(), timeout_s=_TIMEOUT_S)

    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await start_client(client.bootstrap(), stop=close)
            await client.set_topics({partition.topic for partition in positions})
            for partition, offset in positions.items():
                leader = client.cluster.leader_for_partition(partition)
                if leader is None or leader < 0:
                    raise LeaderNotAvailableError(partition)
                wanted = [(partition.topic, [(partition.partition, offset, max_bytes)])]
                request = FetchRequest(100, 1, max_bytes, _READ_COMMITTED, wanted)
                response = await client.send(leader, request)
                found[partition] = _read_response(response, offset)
    finally:
        await close()
    return found


def _read_response(response: Any, offset: int) -> ParsedRecords:  # noqa: ANN401 aiokafka has no types
    [(_, [(_, code, _, *rest)])] = response.topics
    error = for_code(code)
    if code:
        raise error()
    # last stable offset, log start offset, aborted transactions, [read replica,] records
    aborted = rest[2] if response.API_VERSION >= 5 else rest[1]
    return parse_batches(bytes(rest[-1] or b""), offset, aborted or ())


def parse_batches(
    buffer: bytes, offset: int, aborted: Sequence[tuple[int, int]] = ()
) -> ParsedRecords:
    """Return the records from ``offset`` on, without those of aborted transactions.

    Args:
        buffer: batches as a fetch returns them; the last one may be cut off.
        offset: where to begin, also in the middle of a batch.
        aborted: producer id and first offset of aborted transactions.

    Raises:
        KafkaError: a checksum is wrong.
    """
    records: list[ParsedRecord] = []
    next_offset = offset
    open_aborts = sorted(aborted, key=lambda pair: pair[1])
    aborting: set[int] = set()
    for head, payload in _batches(buffer):
        base, attributes, producer = head[0], head[5], head[9]
        while open_aborts and open_aborts[0][1] <= base:
            aborting.add(open_aborts.pop(0)[0])
        if attributes & _CONTROL:
            aborting.discard(producer)  # a marker ends the transaction, either way
        elif not (attributes & _TRANSACTIONAL and producer in aborting):
            records += [each for each in _records(head, payload) if each.offset >= offset]
        next_offset = max(next_offset, base + head[6] + 1)
    return ParsedRecords(records, next_offset)


def _batches(buffer: bytes) -> Iterator[tuple[tuple[int, ...], bytes]]:
    start = 0
    while start + _BATCH.size <= len(buffer):
        head = _BATCH.unpack_from(buffer, start)
        end = start + _BEFORE_LENGTH + head[1]
        if end > len(buffer):
            return
        if calc_crc32c(buffer[start + _BEFORE_CRC : end]) != head[4]:
            raise KafkaError(f"wrong checksum of the batch at offset {head[0]}")
        yield head, buffer[start + _BATCH.size : end]
        start = end


def _records(head: tuple[int, ...], payload: bytes) -> Iterator[ParsedRecord]:
    base, attributes, last_delta, count = head[0], head[5], head[6], head[12]
    try:
        decode = _CODECS.get(attributes & 0x07)
        data = bytes(decode(payload)) if decode else payload
    except Exception as error:  # noqa: BLE001 every codec has errors of its own
        reason = f"decompression failed ({type(error).__name__})"
        for offset in range(base, base + last_delta + 1):
            yield ParsedRecord(offset, head[7], undecodable=reason)
        return
    at = 0
    for _ in range(count):
        length, start = decode_varint(data, at)
        at = start + length
        yield _record(head, memoryview(data)[start:at])


def _record(head: tuple[int, ...], body: memoryview) -> ParsedRecord:
    data = bytearray(body)
    _, at = decode_varint(data, 0)  # attributes: none are defined
    time_delta, at = decode_varint(data, at)
    offset_delta, at = decode_varint(data, at)
    timestamp_ms = head[8] if head[5] & _LOG_APPEND_TIME else head[7] + time_delta
    offset = head[0] + offset_delta
    try:
        key, at = _bytes(data, at)
        value, at = _bytes(data, at)
        count, at = decode_varint(data, at)
        headers: list[tuple[str, bytes | None]] = []
        for _ in range(count):
            name, at = _bytes(data, at)
            header, at = _bytes(data, at)
            headers.append(((name or b"").decode(), header))
    except UnicodeDecodeError:
        return ParsedRecord(offset, timestamp_ms, undecodable="a header name is not UTF-8")
    except (ValueError, IndexError):
        return ParsedRecord(offset, timestamp_ms, undecodable="the record is malformed")
    return ParsedRecord(offset, timestamp_ms, key, value, tuple(headers))


def _bytes(data: bytearray, at: int) -> tuple[bytes | None, int]:
    length, at = decode_varint(data, at)
    if length < 0:
        return None, at
    if at + length > len(data):
        raise ValueError(length)
    return bytes(data[at : at + length]), at + length
