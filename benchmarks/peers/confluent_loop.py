"""A confluent-kafka loop: consume up to 32, the transformers pipeline, produce, flush, commit."""

import json
import sys

from answers import answer
from confluent_kafka import Consumer, KafkaException, Producer
from transformers import pipeline

BOOTSTRAP, SOURCE, OUTPUT, MODEL = sys.argv[1:5]


def main() -> None:
    """Classify until killed."""
    classifier = pipeline("text-classification", model=MODEL, top_k=None, device="cpu")
    consumer = Consumer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": SOURCE,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "enable.idempotence": True})
    consumer.subscribe([SOURCE])
    while True:
        # returns with 32 messages or after the timeout: long enough to fill a batch, short when
        # idle
        messages = consumer.consume(32, timeout=0.1)
        if not messages:
            continue
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
        records = [json.loads(message.value()) for message in messages]
        texts = [record["text"] for record in records]
        results = classifier(texts, batch_size=32, truncation=True)
        for message, record, scores in zip(messages, records, results, strict=True):
            made = answer(record, scores, message.timestamp()[1])
            producer.produce(OUTPUT, json.dumps(made).encode(), key=message.key())
        producer.flush()
        consumer.commit(asynchronous=False)


if __name__ == "__main__":
    main()
