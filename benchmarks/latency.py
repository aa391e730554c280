"""Latency from event time to published label, with arrivals independent of the service.

Poisson arrivals of a heavy-tailed mix of real texts at 10, 50, 80 and 95 % of the service's own
capacity; the null model, for the time of brokers and delivery; a plain loop, at the lowest load; a
burst followed by fresh records; and the first label after a start.
"""

import argparse
import random
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import latency_page
from benchmarks.burst import burst, burst_arrivals
from benchmarks.engine_times import EngineTimes, engine_times
from benchmarks.kafka_to_kafka import (
    Contender,
    measure,
    outputs,
    running,
    service,
    stamped_by_broker,
)
from benchmarks.kafka_to_kafka import warm_up as warm_up_broker
from benchmarks.latency_page import LOADS, Latencies, Load, Schedules
from benchmarks.open_loop import PARTITIONS, collect, poisson, quantile, send, waits_s, warm_up
from benchmarks.scheduling import Costs, Service, Text, ideal_p99_s, simulate
from benchmarks.start_up import start
from benchmarks.throughput import naive
from testing import minilm, texts
from testing.kafka_broker import Cluster

BATCH_TOKENS = 1024  # of a full batch on a CPU
_CAPACITY_RUNS = 3
_SEED = 7


@dataclass(slots=True)
class _Bench:
    """Common state of all parts."""

    cluster: Cluster
    folder: Path
    model: Path
    mix: Sequence[str]
    seconds: float
    rng: random.Random

    def ours(self, name: str) -> Contender:
        """Return the service with the encoder, on separate topics."""
        settings = {"model": {"backend": "encoder", "path": str(self.model), "device": "cpu"}}
        return stamped_by_broker(self.cluster, service(self.cluster, self.folder, name, settings))

    def null(self) -> Contender:
        """Return the service with the null model, on separate topics."""
        settings = {"model": {"backend": "fake", "labels": ["a", "b", "c", "d"]}}
        return stamped_by_broker(self.cluster, service(self.cluster, self.folder, "null", settings))

    def capacity(self, chosen: Sequence[str], name: str) -> float:
        """Return texts/s of the service draining these texts, as the median of several runs."""
        runs = [
            measure(self.cluster, self.ours(f"{name}{number}"), chosen)
            for number in range(_CAPACITY_RUNS)
        ]
        return statistics.median(run.texts_per_s for run in runs)

    def loads(self, contender: Contender, rates: Sequence[float]) -> list[Load]:
        """Measure one rate after the other with one running contender."""
        found = []
        with running(contender), outputs(self.cluster, contender.output_topics) as reader:
            warm_up(self.cluster, contender.input_topic, reader, self.mix)
            for number, per_s in enumerate(rates):
                drawn = self.rng.choices(
                    range(len(self.mix)), k=max(1, round(per_s * self.seconds))
                )
                chosen = [self.mix[index] for index in drawn]
                arrivals = poisson(chosen, per_s=per_s, rng=self.rng, prefix=f"load{number}")
                due_s = send(self.cluster, contender.input_topic, arrivals)
                waits = waits_s(due_s, collect(reader, len(arrivals)))
                waits_of = [waits[each.key] for each in arrivals]
                found.append(Load(per_s, waits_of, drawn, [each.at_s for each in arrivals]))
        return found


def schedules(load: Load, alone: EngineTimes) -> Schedules:
    """Return what the service's scheduler and an ideal one make of these arrivals, simulated."""
    arrived = [
        Text(at_s, number % PARTITIONS, alone.tokens[index])
        for number, (at_s, index) in enumerate(zip(load.due_s, load.drawn, strict=True))
    ]
    costs = Costs(call_s=alone.call_s, token_s=alone.token_s)
    service = Service(max_tokens=BATCH_TOKENS)
    ours_s = quantile(simulate(arrived, service, costs.of, streams=alone.streams), 0.99)
    ideal_s, name = ideal_p99_s(arrived, costs, max_tokens=BATCH_TOKENS, streams=alone.streams)
    return Schedules(ideal_s, name, ours_s, costs)


def _all(bench: _Bench, options: argparse.Namespace) -> Latencies:
    warm_up_broker(bench.cluster)
    starts = [
        start(bench.cluster, bench.folder, f"start{number}", bench.model)
        for number in range(options.starts + 1)
    ][1:]  # the first one compiles the bytecode
    capacity = bench.capacity(bench.mix, "capacity")
    alone = engine_times(bench.model, limit=options.mix)
    rates = [share * capacity for share in LOADS]
    ours = bench.loads(bench.ours("loads"), rates)
    [null] = bench.loads(bench.null(), rates[:1])
    plain_loop = stamped_by_broker(bench.cluster, naive(bench.cluster, bench.model))
    [plain] = bench.loads(plain_loop, rates[:1])
    arrivals = burst_arrivals(options.burst, seconds=1.5 * options.burst / capacity, rng=bench.rng)
    at_80 = ours[LOADS.index(0.8)]
    scheduled = schedules(at_80, alone)
    drained = burst(bench.cluster, bench.ours("burst"), arrivals)
    return Latencies(
        seconds=options.seconds,
        capacity=capacity,
        ours=ours,
        null=null,
        plain=plain,
        single_s=[alone.single_s[index] for index in ours[0].drawn],
        full_batch_s=alone.full_batch_s,
        full_batch_texts=alone.full_batch_texts,
        scheduled=scheduled,
        burst=drained,
        burst_size=options.burst,
        burst_capacity=bench.capacity(drained.texts[::4], "burst-capacity"),
        starts=starts,
    )


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="at each load")
    parser.add_argument("--burst", type=int, default=10_000, help="records of the burst")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--mix", type=int, help="use only this many texts, for a trial run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = minilm.save(folder / "minilm")
        mix = texts.heavy_tailed_mix()[: options.mix]
        cluster = Cluster.open()
        try:
            bench = _Bench(cluster, folder, model, mix, options.seconds, random.Random(_SEED))
            found = _all(bench, options)
        finally:
            cluster.close()
    command = f"python -m benchmarks.latency --seconds {options.seconds:g} --burst {options.burst}"
    latency_page.write(found, command=f"{command} --starts {options.starts}")


if __name__ == "__main__":
    main()
