"""Record batches as bytes, for what no client writes on purpose."""

import struct
from collections.abc import Sequence

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

__all__ = ["batch", "produce_bytes", "resealed", "with_bytes"]

_GOOD, _BAD = b"good-name", b"bad-\xff-nam"  # same length: no other byte of the batch changes


def batch(
    values: Sequence[bytes | None],
    *,
    base: int = 0,
    bad: int | None = None,
    codec: int = 0,
    key: bytes | None = b"key",
    headers: Sequence[tuple[str, bytes | None]] = (),
    producer: int = -1,
    control: bool = False,
) -> bytes:
    """One record batch.

    Args:
        values: one record each.
        base: offset of the first record.
        bad: index of the record that gets a header name that is not UTF-8.
        codec: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
        key: of all records.
        headers: of all records.
        producer: id; the batch is transactional if it is not -1.
        control: makes it a transaction marker.
    """
    plain = _built(values, bad, key, headers, producer)
    if codec:
        plain = _compressed(plain, codec)
    buffer = bytearray(plain)
    struct.pack_into(">q", buffer, 0, base)
    if control:
        buffer[22] |= 0x20
    return resealed(buffer)


def _built(
    values: Sequence[bytes | None],
    bad: int | None,
    key: bytes | None,
    headers: Sequence[tuple[str, bytes | None]],
    producer: int,
) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=int(producer != -1),
        producer_id=producer,
        producer_epoch=0,
        base_sequence=0,
        batch_size=1 << 30,
    )
    for index, value in enumerate(values):
        own = [(_GOOD.decode(), b"")] if index == bad else list(headers)
        builder.append(index, 1_700_000_000_000, key, value, own)
    return bytes(builder.build()).replace(_GOOD, _BAD if bad is not None else _GOOD)


def _compressed(plain: bytes, codec: int) -> bytes:
    from aiokafka import codec as codecs

    encode = [codecs.gzip_encode, codecs.snappy_encode, codecs.lz4_encode, codecs.zstd_encode]
    buffer = bytearray(plain[:61] + bytes(encode[codec - 1](plain[61:])))
    buffer[22] |= codec
    struct.pack_into(">i", buffer, 8, len(buffer) - 12)
    return bytes(buffer)


def with_bytes(buffer: bytes, old: bytes, new: bytes) -> bytes:
    """Replace bytes of a batch and make its checksum right again."""
    assert len(old) == len(new)
    return resealed(bytearray(buffer.replace(old, new)))


def resealed(buffer: bytearray) -> bytes:
    """Write the checksum that fits the bytes."""
    struct.pack_into(">I", buffer, 17, calc_crc32c(bytes(buffer[21:])))
    return bytes(buffer)


async def produce_bytes(bootstrap: str, topic: str, buffer: bytes, partition: int = 0) -> None:
    """Send a record batch as it is."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    try:
        await client.set_topics([topic])
        leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        request = ProduceRequest(
            required_acks=-1,
            timeout=10_000,
            topics=[(topic, [(partition, buffer)])],
            transactional_id=None,
        )
        response = await client.send(leader, request)
        [(_, [(_, code, *_)])] = response.topics
        assert code == 0, for_code(code)
    finally:
        await client.close()
