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
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.engine_alone import batches, compute
from streamlabel.config.model import EncoderSettings
from streamlabel.consumer.batching.micro_batcher import Batch
from streamlabel.models.core.call_cost import CallCost
from streamlabel.models.core.classifier import Classifier, PreparedText
from testing import texts

__all__ = ["EngineTimes", "engine_times"]

_SIZES = (1 / 64, 1 / 16, 1 / 4, 1.0)  # parts of a full batch
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
        tokens: of each text of the mix, all of its rows.
        call_s: seconds of a batch beside its tokens, with all streams busy.
        token_s: seconds of a token in a batch, with all streams busy.
    """

    single_s: list[float]
    full_batch_s: float
    full_batch_texts: float
    tokens_per_s: float
    streams: int
    tokens: list[int]
    call_s: float
    token_s: float


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
        tried = await classifier.prepare(mix)
        prepared = [text for text in tried if isinstance(text, PreparedText)]
        tokens = [text.tokens * text.rows for text in prepared]
        call_s, token_s = await _costs(classifier, prepared, streams)
    finally:
        await classifier.close()
    return EngineTimes(
        single_s, full_batch_s, full_batch_texts, tokens_per_s, streams, tokens, call_s, token_s
    )


async def _costs(
    classifier: Classifier, prepared: Sequence[PreparedText], streams: int
) -> tuple[float, float]:
    """Return seconds of a call and of a token, from batches of several sizes on busy streams."""
    cost = CallCost(kept=1.0)
    for part in _SIZES:
        waiting = batches(classifier, prepared, part=part)

        async def stream(waiting: Iterator[Batch[PreparedText]] = waiting) -> None:
            for batch in waiting:
                began_s = time.perf_counter()
                await classifier.classify(batch.items)
                cost.learn(tokens=batch.padded_tokens, seconds=time.perf_counter() - began_s)

        await asyncio.gather(*(stream() for _ in range(streams)))
    fitted = cost.fitted()
    if fitted is None:
        raise SystemExit("too few batches to tell what a call costs; use more texts")
    return fitted


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
