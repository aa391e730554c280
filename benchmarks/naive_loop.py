"""A plain loop: aiokafka, a transformers pipeline, batches of 32 in order of arrival."""

import asyncio
import json
import sys

import torch
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from transformers import pipeline


async def main(bootstrap: str, topic: str, output: str, model: str) -> None:
    """Classify ``topic`` into ``output`` until killed."""
    torch.set_num_threads(2)
    classifier = pipeline("text-classification", model=model, top_k=None, device="cpu")
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=f"naive-{topic}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await consumer.start()
    await producer.start()
    while True:
        polled = await consumer.getmany(timeout_ms=200, max_records=32)
        records = [record for batch in polled.values() for record in batch]
        if not records:
            continue
        texts = [json.loads(record.value)["text"] for record in records]
        results = await asyncio.to_thread(classifier, texts, batch_size=32, truncation=True)
        sends = []
        for record, scores in zip(records, results, strict=True):
            value = json.dumps({"label": scores[0]["label"], "confidence": scores[0]["score"]})
            sends.append(
                await producer.send(output, value.encode(), key=record.key, headers=record.headers)
            )
        await asyncio.gather(*sends)
        await consumer.commit()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
