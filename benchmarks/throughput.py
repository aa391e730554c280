"""Kafka to Kafka, compared with the engine alone and with a plain loop.

On a heavy-tailed mix of real texts, MiniLM in fp32, interleaved in one run:
(a) the engine alone, offline, with the batches that the service's batcher forms of all texts; (b)
the service, Kafka to Kafka; (c) a plain aiokafka loop with the transformers pipeline.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import results_file
from benchmarks.kafka_to_kafka import Contender, Measured, measure, service, warm_up
from testing import minilm, texts
from testing.kafka_broker import Cluster

_NAIVE_ROUNDS = 3  # slow and far from the others, so a few rounds are sufficient
_WATCHED_ROUNDS = 3  # each reports a maximum, so one is not enough


@dataclass(frozen=True, slots=True)
class Watched:
    """The report of ``benchmarks.watched_service``; see its ``Watch``."""

    longest_ms: float
    longest_cpu_ms: float
    device_waits: float
    backlog_s: float


def engine_alone(model: Path) -> float:
    """Return texts/s of the encoder in a fresh process."""
    command = (sys.executable, "-m", "benchmarks.engine_alone", str(model))
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def naive(cluster: Cluster, model: Path) -> Contender:
    """Return the plain loop on separate topics."""
    source, output = (
        cluster.topic("naive-in", partitions=4),
        cluster.topic("naive-out", partitions=4),
    )
    script = Path(__file__).with_name("naive_loop.py")
    command = (sys.executable, str(script), cluster.bootstrap, source, output, str(model))
    return Contender("naive", command, source, (output,))


def watched(cluster: Cluster, contender: Contender, mix: Sequence[str], folder: Path) -> Watched:
    """Run the service once more and measure its event loop and its device."""
    report = folder / "watched.json"
    module = "benchmarks.watched_service"
    command = (sys.executable, "-m", module, str(report), *contender.command[3:])
    measure(cluster, replace(contender, command=command), [*mix, *mix])
    return Watched(**json.loads(report.read_text()))


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    mix = texts.heavy_tailed_mix()
    alone: list[float] = []
    ours: list[Measured] = []
    plain: list[Measured] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = minilm.save(folder / "minilm")
        cluster = Cluster.open()
        try:
            settings = {"model": {"backend": "encoder", "path": str(model), "device": "cpu"}}
            warm_up(cluster)
            for number in range(rounds):
                alone.append(engine_alone(model))
                contender = service(cluster, folder, f"service{number}", settings)
                ours.append(measure(cluster, contender, mix))
                if number < _NAIVE_ROUNDS:
                    plain.append(measure(cluster, naive(cluster, model), mix))
            looked = [
                watched(cluster, service(cluster, folder, f"watched{n}", settings), mix, folder)
                for n in range(_WATCHED_ROUNDS)
            ]
        finally:
            cluster.close()
    a = statistics.median(alone)
    b = statistics.median(run.texts_per_s for run in ours)
    c = statistics.median(run.texts_per_s for run in plain)
    median = sorted(ours, key=lambda run: run.texts_per_s)[len(ours) // 2]
    figures = {
        "service_over_engine": b / a,
        "service_over_naive": b / c,
        "engine_texts_per_s": a,
        "service_texts_per_s": b,
        "naive_texts_per_s": c,
        "service_p50_ms": median.latency_ms(0.5),
        "service_p99_ms": median.latency_ms(0.99),
        "service_peak_mib": max(run.peak_bytes for run in ours) / 2**20,
        "naive_peak_mib": max(run.peak_bytes for run in plain) / 2**20,
        "loop_longest_ms": statistics.median(run.longest_ms for run in looked),
        "loop_longest_cpu_ms": statistics.median(run.longest_cpu_ms for run in looked),
        "device_waits_share": statistics.median(run.device_waits for run in looked),
    }
    backlog_s = statistics.median(run.backlog_s for run in looked)
    page = (
        f"{len(mix)} texts (1,200 tweets, 300 news, 60 of six joined news), MiniLM fp32, 4"
        f" partitions, medians of {rounds} interleaved rounds ({len(plain)} of the plain loop).\n\n"
        "| | texts/s | peak memory |\n| --- | ---: | ---: |\n"
        f"| (a) engine alone, offline | {a:.1f} | |\n"
        f"| (b) service, Kafka to Kafka | {b:.1f} | {figures['service_peak_mib']:.0f} MiB |\n"
        f"| (c) plain loop, Kafka to Kafka | {c:.1f} | {figures['naive_peak_mib']:.0f} MiB |\n\n"
        f"b / a = {b / a:.3f}, b / c = {b / c:.2f}. All texts are sent at once, so latency is the"
        f" time in the backlog: p50 {figures['service_p50_ms']:.0f} ms,"
        f" p99 {figures['service_p99_ms']:.0f} ms.\n\n"
        f"In {_WATCHED_ROUNDS} separate runs, over {backlog_s:.0f} s of backlog each, medians: the"
        f" longest callback of the event loop took {figures['loop_longest_ms']:.1f} ms of wall"
        f" time, and {figures['loop_longest_cpu_ms']:.1f} ms of CPU time (model and broker share"
        f" the cores); the device had no batch in {figures['device_waits_share']:.1%} of the"
        " time.\n"
    )
    runs = {
        "engine": alone,
        "service": [run.texts_per_s for run in ours],
        "naive": [run.texts_per_s for run in plain],
        "loop_longest_ms": [run.longest_ms for run in looked],
    }
    results_file.write(
        "throughput",
        command=f"python -m benchmarks.throughput --rounds {rounds}",
        figures=figures,
        page=page,
        details={"runs": runs},
    )


if __name__ == "__main__":
    main()
