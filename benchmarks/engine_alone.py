"""The encoder alone, offline, in a separate process like the service's worker."""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from streamlabel.config.model import EncoderSettings
from streamlabel.config.settings import BatchingSettings
from streamlabel.consumer.batching.micro_batcher import Batch, MicroBatcher
from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import Classifier, PreparedText
from testing import texts

__all__ = ["batches", "compute", "engine_alone"]


async def engine_alone(model: Path, mix: Sequence[str]) -> float:
    """Return texts/s of the encoder in this process, including tokenising, without loading."""
    from streamlabel.models.encoder import classifier as encoder

    classifier = encoder.load(EncoderSettings(path=str(model), device="cpu"))
    try:
        await _classify(classifier, mix[:64])
        began_s = time.perf_counter()
        await _classify(classifier, mix)
        return len(mix) / (time.perf_counter() - began_s)
    finally:
        await classifier.close()


def batches(
    classifier: Classifier, texts: Sequence[PreparedText | InferenceError], *, part: float = 1.0
) -> Iterator[Batch[PreparedText]]:
    """Yield the batches that the service's batcher forms when all texts are waiting.

    Args:
        classifier: says how batches should be formed.
        texts: prepared by it.
        part: of a full batch that each may have.
    """
    limits = BatchingSettings()
    budget = limits.max_batch_tokens or classifier.hints.batch_tokens
    batcher: MicroBatcher[PreparedText] = MicroBatcher(
        max_tokens=max(1, round(part * budget)),
        max_items=limits.max_batch_items,
        pads=classifier.hints.pads,
    )
    for prepared in texts:
        if isinstance(prepared, InferenceError):
            raise prepared
        batcher.add(prepared, tokens=prepared.tokens, rows=prepared.rows, now_s=0.0)
    while (batch := batcher.take(0.0)) is not None:
        yield batch


async def compute(classifier: Classifier, waiting: Iterator[Batch[PreparedText]]) -> None:
    """Compute all batches with all streams of the classifier."""

    async def stream() -> None:
        for batch in waiting:
            await classifier.classify(batch.items)

    await asyncio.gather(*(stream() for _ in range(classifier.hints.max_in_flight)))


async def _classify(classifier: Classifier, mix: Sequence[str]) -> None:
    await compute(classifier, batches(classifier, await classifier.prepare(mix)))


if __name__ == "__main__":
    rate = asyncio.run(engine_alone(Path(sys.argv[1]), texts.heavy_tailed_mix()))
    sys.stdout.write(f"{rate}\n")
