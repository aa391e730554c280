"""Times of the engine alone: one text at a time, one full batch, and all streams at once.

Runs in a separate process, like the service's worker.

    python -m benchmarks.engine_times MODEL_FOLDER
"""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.engine_alone import batches, compute
from streamlabel.config.model import EncoderSettings
from streamlabel.models.core.classifier import Classifier
from testing import texts

__all__ = ["EngineTimes", "engine_times"]

_FULL = 0.9  # a batch with at least this fraction of the token budget


@dataclass(frozen=True, slots=True)
class EngineTimes:
    """Times of the engine on an otherwise idle machine.

    Attributes:
        single_s: seconds per text of the mix, one at a time, tokenising included.
        full_batch_s: median seconds of a batch that fills the token budget, one at a time.
        full_batch_texts: median texts of such a batch.
        tokens_per_s: of all texts, with all streams busy, without tokenising.
        streams: batches that it computes concurrently.
    """

    single_s: list[float]
    full_batch_s: float
    full_batch_texts: float
    tokens_per_s: float
    streams: int


def engine_times(model: Path, *, limit: int | None = None) -> EngineTimes:
    """Measure in a fresh process; ``limit``: use only this many texts, for a trial run."""
    command = (sys.executable, "-m", "benchmarks.engine_times", str(model), str(limit or ""))
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return EngineTimes(**json.loads(done.stdout.splitlines()[-1]))


async def _measure(model: Path, mix: Sequence[str]) -> EngineTimes:
    from streamlabel.models.encoder import classifier as encoder

    classifier = encoder.load(EncoderSettings(path=str(model), device="cpu"))
    try:
        await _all_streams(classifier, mix[:64])
        tokens_per_s = await _all_streams(classifier, mix)
        single_s = [await _single(classifier, text) for text in mix]
        full_batch_s, full_batch_texts = await _full_batch(classifier, mix)
        streams = int(classifier.identity.details["streams"])
    finally:
        await classifier.close()
    return EngineTimes(single_s, full_batch_s, full_batch_texts, tokens_per_s, streams)


async def _single(classifier: Classifier, text: str) -> float:
    began_s = time.perf_counter()
    for batch in batches(classifier, await classifier.prepare([text])):
        await classifier.classify(batch.items)
    return time.perf_counter() - began_s


async def _full_batch(classifier: Classifier, mix: Sequence[str]) -> tuple[float, float]:
    seconds, sizes = [], []
    for batch in batches(classifier, await classifier.prepare(mix)):
        if batch.padded_tokens < _FULL * classifier.hints.batch_tokens:
            continue
        began_s = time.perf_counter()
        await classifier.classify(batch.items)
        seconds.append(time.perf_counter() - began_s)
        sizes.append(len(batch.items))
    return statistics.median(seconds), statistics.median(sizes)


async def _all_streams(classifier: Classifier, mix: Sequence[str]) -> float:
    waiting = list(batches(classifier, await classifier.prepare(mix)))
    tokens = sum(batch.tokens for batch in waiting)
    began_s = time.perf_counter()
    await compute(classifier, iter(waiting))
    return tokens / (time.perf_counter() - began_s)


if __name__ == "__main__":
    count = int(sys.argv[2]) if sys.argv[2:] and sys.argv[2] else None
    times = asyncio.run(_measure(Path(sys.argv[1]), texts.heavy_tailed_mix()[:count]))
    sys.stdout.write(json.dumps(asdict(times)) + "\n")
