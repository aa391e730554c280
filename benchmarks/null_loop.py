"""A bare aiokafka loop that does the service's work on the wire and nothing else.

Reads, parses the same JSON, sends outputs of the same size, commits: what a careful user writes
with ``send`` and one ``gather`` a batch. The baseline of ``benchmarks.delivery``.
"""

import asyncio
import sys

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer


async def main(bootstrap: str, topic: str, output: str, size_bytes: int) -> None:
    """Copy ``topic`` to ``output`` until killed."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=f"null-{topic}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=1024 * 1024,
        fetch_max_bytes=8 * 1024 * 1024,
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await consumer.start()
    await producer.start()
    while True:
        polled = await consumer.getmany(timeout_ms=200, max_records=500)
        sends = []
        for partition, records in polled.items():
            for record in records:
                document = orjson.loads(record.value)
                if not isinstance(document["text"], str):
                    raise TypeError("text")
                value = orjson.dumps({"id": document["id"], "filler": ""})
                value = orjson.dumps(
                    {"id": document["id"], "filler": "x" * (size_bytes - len(value))}
                )
                sends.append(
                    await producer.send(
                        output, value, key=record.key, partition=partition.partition
                    )
                )
        if sends:
            await asyncio.gather(*sends)
            await consumer.commit()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], int(sys.argv[4])))
