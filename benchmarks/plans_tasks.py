"""What a second task on the same encoder costs: one part of ``benchmarks.plans``.

MiniLM with two heads, Kafka to Kafka: one service with two tasks, which computes the encoder once,
against two services with a model each that read the same topic on the same cores; interleaved. A
text counts when both of its outputs are written.
"""

import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.kafka_to_kafka import measure_all, service, warm_up
from testing import minilm, texts
from testing.kafka_broker import Cluster

__all__ = ["tasks"]


def tasks(rounds: int) -> tuple[dict[str, float], str, dict[str, Any]]:
    """Return figures, a page and the rates of each round."""
    stream = texts.heavy_tailed_mix()
    rates: dict[str, list[float]] = {"one service": [], "two services": []}
    loads: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        models = [
            {"backend": "encoder", "path": str(minilm.save(folder / name, labels)), "device": "cpu"}
            for name, labels in (("moderation", ("ok", "insult")), ("topic", ("a", "b", "c", "d")))
        ]
        cluster = Cluster.open()
        try:
            warm_up(cluster)
            for number in range(rounds):
                loads.append(os.getloadavg()[0])
                both = {
                    "tasks": {
                        name: {"model": model}
                        for name, model in zip(("moderation", "topic"), models, strict=True)
                    }
                }
                one = service(cluster, folder, f"one{number}", both)
                rates["one service"].append(measure_all(cluster, [one], stream, outputs_each=2))
                first = service(cluster, folder, f"first{number}", {"model": models[0]})
                same = {"input": {"topic": first.input_topic}, "model": models[1]}
                second = service(cluster, folder, f"second{number}", same)
                pair = measure_all(cluster, [first, second], stream, outputs_each=2)
                rates["two services"].append(pair)
        finally:
            cluster.close()
    ratios = [one / two for one, two in zip(*rates.values(), strict=True)]
    gain = statistics.median(ratios)
    rows = "".join(f"| {way} | {statistics.median(each):.1f} |\n" for way, each in rates.items())
    page = (
        "## Two tasks on one encoder\n\n"
        f"{len(stream)} texts of the heavy-tailed mix, each with two outputs; MiniLM fp32 with two"
        f" heads, 4 partitions, medians of {rounds} interleaved rounds. The two services read the"
        " same topic on the same cores.\n\n"
        "| | texts/s |\n| --- | ---: |\n" + rows + "\n"
        f"Ratio {gain:.2f} (median of the rounds' ratios, {min(ratios):.2f} to {max(ratios):.2f});"
        f" load average before each round {min(loads):.1f} to {max(loads):.1f}.\n"
    )
    runs = {**rates, "load_average": loads}
    return {"two_tasks_over_two_services": gain}, page, runs
