"""FastStream's batch subscriber and publisher with the transformers pipeline, at least once."""

import asyncio
import sys
from typing import Any

from answers import answer
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage
from transformers import pipeline

BOOTSTRAP, SOURCE, OUTPUT, MODEL = sys.argv[1:5]

classifier = pipeline("text-classification", model=MODEL, top_k=None, device="cpu")
broker = KafkaBroker(BOOTSTRAP, logger=None)
app = FastStream(broker, logger=None)


@broker.subscriber(
    SOURCE,
    batch=True,
    max_records=32,
    group_id=SOURCE,
    auto_offset_reset="earliest",
    ack_policy=AckPolicy.NACK_ON_ERROR,
)
@broker.publisher(OUTPUT, batch=True)
async def classify(records: list[dict[str, Any]], message: KafkaMessage) -> tuple[Any, ...]:
    """Return one output per record; the model runs in a thread, so that heartbeats continue."""
    texts = [record["text"] for record in records]
    results = await asyncio.to_thread(classifier, texts, batch_size=32, truncation=True)
    return tuple(
        answer(record, scores, raw.timestamp)
        for record, raw, scores in zip(records, message.raw_message, results, strict=True)
    )


if __name__ == "__main__":
    asyncio.run(app.run())
