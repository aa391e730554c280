"""A bare aiokafka loop as an expert would write it: what ``benchmarks.expert`` compares with.

    python expert_loop.py BOOTSTRAP INPUT LABELS REVIEW DEAD_LETTERS GUARANTEE

It does what the service does with the null model: parses the same JSON, computes the same checksum,
writes the same records to as many topics, and commits. It has no worker process, no metrics, no
limit of what is in flight and no isolation of failures, and reads nothing while it writes.
"""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from math import log
from typing import Any
from zlib import crc32

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

_LABELS = ("ok", "spam", "hate")
_ANSWERS = 1021  # of the null model
_THRESHOLD = 0.5
_MOST = 2000  # records of a poll
_HEADERS = [("content-type", b"application/json")]
_MODEL = {
    "name": "fake",
    "backend": "fake",
    "device": "cpu",
    "digest": "9f2c41d07b6e8a35" * 4,
    "prompt_version": None,
    "calibration_id": None,
    "deployment_id": None,
    "threshold_set_id": None,
}


def answer(index: int) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    """Return label, probabilities and log-probabilities, as the null model computes them."""
    least = 1 / len(_LABELS)
    confidence = least + (1 - least) * (index + 1) / (_ANSWERS + 1)
    rest = (1 - confidence) / (len(_LABELS) - 1)
    label = index % len(_LABELS)
    found = tuple(confidence if number == label else rest for number in range(len(_LABELS)))
    return label, found, tuple(map(log, found))


def message(record: Any, answers: list[Any], now: str) -> tuple[bool, dict[str, Any]]:  # noqa: ANN401 aiokafka's
    """Return whether the record is sure, and what is written of it."""
    document = orjson.loads(record.value)
    text = document["text"]
    label, probabilities, _ = answers[crc32(text.encode()) % _ANSWERS]
    confidence = probabilities[label]
    is_sure = confidence >= _THRESHOLD
    second = sorted(probabilities)[-2]
    written = {
        "schema": "streamlabel.label/v1" if is_sure else "streamlabel.review/v1",
        "id": document["id"],
        "label": _LABELS[label],
        "confidence": confidence,
        "probabilities": dict(zip(_LABELS, probabilities, strict=True)),
        "margin": confidence - second,
        "route": "label" if is_sure else "review",
        "reasons": [] if is_sure else ["low_confidence"],
        "truncated": False,
        "model": _MODEL,
        "source": {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp_ms": record.timestamp,
        },
        "metadata": None,
        "processed_at": now,
        "timings_ms": {"queue": 23.412, "inference": 11.073},
    }
    if not is_sure:
        written |= {"threshold": _THRESHOLD, "text": text}
    return is_sure, written


async def run(bootstrap: str, topics: Sequence[str], guarantee: str) -> None:
    """Read the first topic and write labels, reviews, dead letters to the others until killed."""
    source, labels, review, dead = topics
    group = f"expert-{source}"
    consumer = AIOKafkaConsumer(
        source,
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_bytes=8 * 1024 * 1024,
    )
    is_exact = guarantee == "exactly_once"
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        max_batch_size=256 * 1024,
        transactional_id=f"{group}-transactions" if is_exact else None,
    )
    await producer.start()
    await consumer.start()
    answers = [answer(index) for index in range(_ANSWERS)]
    while True:
        polled = await consumer.getmany(timeout_ms=250, max_records=_MOST)
        if not polled:
            continue
        if is_exact:
            await producer.begin_transaction()
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        sends = []
        offsets = {}
        for partition, records in polled.items():
            for record in records:
                try:
                    is_sure, written = message(record, answers, now)
                    topic, value = (labels if is_sure else review), orjson.dumps(written)
                except (ValueError, KeyError, AttributeError):
                    topic, value = dead, record.value
                sends.append(
                    await producer.send(
                        topic,
                        value,
                        key=record.key,
                        partition=partition.partition,
                        headers=_HEADERS,
                    )
                )
            offsets[partition] = records[-1].offset + 1
        await asyncio.gather(*sends)
        if is_exact:
            await producer.send_offsets_to_transaction(offsets, group)
            await producer.commit_transaction()
        else:
            await consumer.commit(offsets)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2:6], sys.argv[6]))
