"""A bare aiokafka loop that only reads, parses, sends and commits, like the service.

It parses the same JSON and sends outputs of the same size, with ``send`` and one ``gather`` per
batch. The baseline of ``benchmarks.delivery``.
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
    servers, source, target, size = sys.argv[1:]
    asyncio.run(main(servers, source, target, int(size)))
