"""What a shadow costs the present model: one part of ``benchmarks.plans``.

The service with MiniLM in fp32, saturated, Kafka to Kafka, once with a shadow that gets every text
and once without, interleaved. The shadow is a null model: what remains is what queueing, copying
and writing its results take from the present model.
"""

import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.kafka_to_kafka import measure_each, service, warm_up
from testing import minilm, texts
from testing.kafka_broker import Cluster

__all__ = ["shadow"]

_FIRST = 600  # texts before the measured ones: some three seconds


def shadow(rounds: int) -> tuple[dict[str, float], str, dict[str, Any]]:
    """Return figures, a page and the rates of each round."""
    stream = texts.heavy_tailed_mix()
    rates: dict[str, list[float]] = {"without": [], "with": []}
    loads: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = {"backend": "encoder", "path": str(minilm.save(folder / "minilm")), "device": "cpu"}
        cluster = Cluster.open()
        try:
            warm_up(cluster)
            for number in range(rounds):
                loads.append(os.getloadavg()[0])
                ways = ("with", "without") if number % 2 else ("without", "with")
                for way in ways:
                    settings: dict[str, Any] = {"model": model}
                    if way == "with":
                        topic = cluster.topic("shadow", partitions=4)
                        settings["shadow"] = {"model": {"backend": "fake"}, "topic": topic}
                    contender = service(cluster, folder, f"{way}{number}", settings)
                    # The shadow loads after the service has begun, during the first set.
                    _, run = measure_each(cluster, contender, (stream[:_FIRST], stream))
                    rates[way].append(run.texts_per_s)
        finally:
            cluster.close()
    costs = [1 - on / off for off, on in zip(*rates.values(), strict=True)]
    cost = statistics.median(costs)
    page = (
        "## Shadow\n\n"
        f"{len(stream)} texts of the heavy-tailed mix, MiniLM fp32, 4 partitions, medians of"
        f" {rounds} interleaved rounds; the shadow is a null model that gets every text.\n\n"
        "| | texts/s |\n| --- | ---: |\n"
        + "".join(
            f"| {way} a shadow | {statistics.median(each):.1f} |\n" for way, each in rates.items()
        )
        + f"\nThe shadow costs {cost:.1%} of the throughput (median of the rounds,"
        f" {min(costs):.1%} to {max(costs):.1%}); load average before each round"
        f" {min(loads):.1f} to {max(loads):.1f}.\n"
    )
    return {"shadow_cost": cost}, page, {**rates, "load_average": loads}
