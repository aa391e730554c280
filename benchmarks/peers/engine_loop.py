"""What an expert writes around a foreign engine: an aiokafka loop with sorted batches.

    python engine_loop.py BOOTSTRAP SOURCE OUTPUT MODEL ENGINE PRECISION

It takes up to 256 texts at a time, tokenises them together, forms batches of similar lengths in a
token budget, and computes two at a time, a core each. Meanwhile it reads the next texts. Outputs
are acknowledged before their offsets are committed. Streams, budget and form of the model are those
that ``benchmarks.engines`` found to be the fastest on most models.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from answers import answer
from tokenizers import Tokenizer

from benchmarks.engines.loop import Engine, batches

_MOST = 256  # texts of a window
_BUDGET = 256  # padded tokens of a batch
_STREAMS = 2


def engine_of(kind: str, precision: str, model: Path, scratch: Path) -> Engine:
    """Return the compiled model."""
    threads = len(os.sched_getaffinity(0))
    if kind == "openvino":
        from benchmarks.engines.openvino_engine import OpenVino, converted

        return OpenVino(converted(model), precision=precision, streams=_STREAMS, threads=threads)
    from benchmarks.engines.onnx_engine import OnnxRuntime, exported

    file = exported(model, scratch / "model.onnx")
    if precision == "int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantised = scratch / "int8.onnx"
        # weights by channel, and activations when they are known: what needs no calibration
        quantize_dynamic(file, quantised, weight_type=QuantType.QInt8, per_channel=True)
        file = quantised
    return OnnxRuntime(file, streams=_STREAMS, threads=threads)


class Loop:
    """Classifies texts.

    Args:
        engine: computes batches.
        folder: of the model, with its tokenizer and config.json.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        self._labels = [config["id2label"][str(i)] for i in range(len(config["id2label"]))]
        self._pad = int(config.get("pad_token_id") or 0)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        about = json.loads((folder / "tokenizer_config.json").read_text())
        self._tokenizer.enable_truncation(int(about["model_max_length"]))
        self._engine = engine

    def scores(self, texts: Sequence[str]) -> list[list[dict[str, Any]]]:
        """Return label and score of every label for each text."""
        rows = [each.ids for each in self._tokenizer.encode_batch_fast(list(texts))]
        waiting, order = batches(rows, budget=_BUDGET, pad=self._pad)
        logits = np.concatenate(self._engine.run(waiting))
        odds = np.exp(logits - logits.max(1, keepdims=True))
        found = (odds / odds.sum(1, keepdims=True)).tolist()
        made: list[list[dict[str, Any]]] = [[] for _ in rows]
        for place, scores in zip(order, found, strict=True):
            pairs = zip(self._labels, scores, strict=True)
            made[place] = [{"label": label, "score": score} for label, score in pairs]
        return made


async def run(bootstrap: str, source: str, output: str, loop: Loop) -> None:
    """Classify until killed."""
    consumer = AIOKafkaConsumer(
        source,
        bootstrap_servers=bootstrap,
        group_id=source,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=5
    )
    await consumer.start()
    await producer.start()
    reading = asyncio.ensure_future(consumer.getmany(timeout_ms=100, max_records=_MOST))
    while True:
        polled = await reading
        ends = {partition: records[-1].offset + 1 for partition, records in polled.items()}
        records: list[ConsumerRecord[Any, Any]] = [r for each in polled.values() for r in each]
        reading = asyncio.ensure_future(consumer.getmany(timeout_ms=100, max_records=_MOST))
        if not records:
            continue
        documents = [json.loads(record.value) for record in records]
        texts = [document["text"] for document in documents]
        scores = await asyncio.to_thread(loop.scores, texts)
        sent = [
            await producer.send(
                output,
                json.dumps(answer(document, found, record.timestamp)).encode(),
                key=record.key,
                partition=record.partition,
            )
            for record, document, found in zip(records, documents, scores, strict=True)
        ]
        await asyncio.gather(*sent)
        await consumer.commit(ends)


def main() -> None:
    """Load the model, then run."""
    bootstrap, source, output, model, kind, precision = sys.argv[1:7]
    with tempfile.TemporaryDirectory() as scratch:
        engine = engine_of(kind, precision, Path(model), Path(scratch))
    asyncio.run(run(bootstrap, source, output, Loop(engine, Path(model))))


if __name__ == "__main__":
    main()
