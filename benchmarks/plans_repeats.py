"""What identical texts that come in waves gain: one part of ``benchmarks.plans``.

On a stream with 30 % exact repeats in waves, the service with MiniLM in fp32, Kafka to Kafka, once
with ``repeats`` and once without, interleaved; both write one output per record.
"""

import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.kafka_to_kafka import measure, service, warm_up
from testing import minilm, texts
from testing.kafka_broker import Cluster

__all__ = ["in_waves", "repeats"]

_REPEATS = 0.3
_WAVE = 20  # texts in a wave, the first one included
_SPREAD = 200  # a wave's texts come within so many texts
_SEED = 7


def in_waves(mix: Sequence[str], share: float = _REPEATS) -> list[str]:
    """Return a stream as long as ``mix`` in which this share of the texts repeats an earlier one.

    Waves begin at random places of the stream; the repeats of each are spread over the texts that
    follow its first text.
    """
    rng = random.Random(_SEED)
    repeats = round(share * len(mix))
    fresh = [(float(place), text) for place, text in enumerate(mix[: len(mix) - repeats])]
    copies: list[tuple[float, str]] = []
    while len(copies) < repeats:
        place, text = rng.choice(fresh)
        wave = min(_WAVE - 1, repeats - len(copies))
        copies += [(place + rng.uniform(0, _SPREAD), text) for _ in range(wave)]
    return [text for _, text in sorted([*fresh, *copies])]


def repeats(rounds: int) -> tuple[dict[str, float], str, dict[str, Any]]:
    """Return figures, a page and the rates of each round."""
    stream = in_waves(texts.heavy_tailed_mix())
    repeated = 1 - len(set(stream)) / len(stream)
    rates: dict[str, list[float]] = {"on": [], "off": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = {"backend": "encoder", "path": str(minilm.save(folder / "minilm")), "device": "cpu"}
        cluster = Cluster.open()
        try:
            warm_up(cluster)
            for number in range(rounds):
                for way, settings in (("on", {}), ("off", {"max_items": 0})):
                    wanted = {"model": model, "repeats": settings}
                    contender = service(cluster, folder, f"{way}{number}", wanted)
                    rates[way].append(measure(cluster, contender, stream).texts_per_s)
        finally:
            cluster.close()
    pairs = [on / off for on, off in zip(rates["on"], rates["off"], strict=True)]
    on, off = (statistics.median(rates[way]) for way in ("on", "off"))
    speedup = statistics.median(pairs)
    page = (
        "## Exact repeats\n\n"
        f"{len(stream)} texts of the heavy-tailed mix, of which {repeated:.0%} repeat an earlier"
        f" one exactly, in waves of {_WAVE} within {_SPREAD} texts; MiniLM fp32, 4 partitions,"
        f" medians of {rounds} interleaved rounds.\n\n"
        "| | texts/s |\n| --- | ---: |\n"
        f"| every text is classified | {off:.1f} |\n"
        f"| identical texts are classified once | {on:.1f} |\n\n"
        f"Speed-up {speedup:.2f} (median of the rounds' ratios, {min(pairs):.2f} to"
        f" {max(pairs):.2f}); {1 / (1 - repeated):.2f} if repeats cost nothing and all texts cost"
        " the same.\n"
    )
    return {"repeats_speedup": speedup, "repeats_share": repeated}, page, rates
