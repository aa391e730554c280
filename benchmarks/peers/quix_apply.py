"""Quix Streams with the transformers pipeline in ``apply``, its usual way to call a model.

Its count windows are not suitable as batches: a window closes only when it is full, so the last
texts before a pause would wait for the next ones, and windows are per message key.
"""

import sys
from typing import Any

from answers import answer
from quixstreams import Application
from transformers import pipeline

BOOTSTRAP, SOURCE, OUTPUT, MODEL = sys.argv[1:5]

classifier = pipeline("text-classification", model=MODEL, top_k=None, device="cpu")


def classify(
    value: dict[str, Any], _key: object, timestamp_ms: int, _headers: object
) -> dict[str, Any]:
    """Return the output of one record."""
    [scores] = classifier([value["text"]], truncation=True)
    return answer(value, scores, timestamp_ms)


if __name__ == "__main__":
    app = Application(
        broker_address=BOOTSTRAP,
        consumer_group=SOURCE,
        auto_offset_reset="earliest",
        loglevel="WARNING",
    )
    texts = app.topic(SOURCE, value_deserializer="json")
    labels = app.topic(OUTPUT, value_serializer="json")
    app.dataframe(texts).apply(classify, metadata=True).to_topic(labels)
    app.run()
