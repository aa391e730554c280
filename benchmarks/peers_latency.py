"""Latency of a text in the peers and in our service, at a load that all of them can sustain.

Poisson arrivals of the heavy-tailed mix, with the same texts and times for each contender, one
contender after the other. The latency is from the scheduled time of a record to the append time of
its output.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import results_file
from benchmarks.kafka_to_kafka import Contender, outputs, running
from benchmarks.kafka_to_kafka import warm_up as warm_up_broker
from benchmarks.open_loop import collect, poisson, quantile, send, waits_s, warm_up
from benchmarks.peers.contenders import OURS, PEERS, fitted_model, our_contender
from testing import texts
from testing.kafka_broker import Cluster

_SEED = 7
_FP32 = next(iter(OURS))


def measure(
    cluster: Cluster, contender: Contender, mix: Sequence[str], *, per_s: float, seconds: float
) -> list[float]:
    """Return the latency of each text in seconds; all contenders get the same texts."""
    rng = random.Random(_SEED)
    arrivals = poisson(
        rng.choices(mix, k=round(per_s * seconds)), per_s=per_s, rng=rng, prefix="text"
    )
    with running(contender), outputs(cluster, contender.output_topics) as reader:
        warm_up(cluster, contender.input_topic, reader, mix)
        due_s = send(cluster, contender.input_topic, arrivals)
        return list(waits_s(due_s, collect(reader, len(arrivals))).values())


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-s", type=float, default=10.0, help="texts a second")
    parser.add_argument("--seconds", type=float, default=120.0, help="for each contender")
    options = parser.parse_args()
    for peer in PEERS:
        peer.prepare()
    model, mix = fitted_model(), texts.heavy_tailed_mix()
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        cluster = Cluster.open()
        try:
            warm_up_broker(cluster)
            contenders = {_FP32: our_contender(cluster, Path(scratch), _FP32, model)}
            contenders |= {peer.title: peer.contender(cluster, model) for peer in PEERS}
            for title, contender in contenders.items():
                found[title] = measure(
                    cluster, contender, mix, per_s=options.per_s, seconds=options.seconds
                )
                sys.stderr.write(f"{time.strftime('%H:%M:%S')} {title}\n")
        finally:
            cluster.close()
    _write(options, found)


def _write(options: argparse.Namespace, found: dict[str, list[float]]) -> None:
    p99_ms = {title: 1000 * quantile(waits, 0.99) for title, waits in found.items()}
    ours_ms = p99_ms.pop(_FP32)
    best = min(p99_ms, key=lambda title: p99_ms[title])
    rows = "".join(
        f"| {title} | {1000 * quantile(waits, 0.5):.0f} | {1000 * quantile(waits, 0.99):.0f} |\n"
        for title, waits in found.items()
    )
    results_file.write(
        "peers_latency",
        command=f"python -m benchmarks.peers_latency --per-s {options.per_s:g}"
        f" --seconds {options.seconds:g}",
        figures={"p99_ms": ours_ms, "best_peer_p99_over_ours": p99_ms[best] / ours_ms}
        | {f"{peer.name}_p99_ms": p99_ms[peer.title] for peer in PEERS},
        page=f"{options.per_s:g} texts a second of the heavy-tailed mix as a Poisson stream,"
        f" {options.seconds:g} s for each, MiniLM in float32, 4 partitions. From the time at which"
        " a record was due to when the broker appended its output; broker, sender and reader on"
        f" the same cores.\n\n| | p50 ms | p99 ms |\n| --- | ---: | ---: |\n{rows}\nThe best peer"
        f" is {best}: its p99 is {p99_ms[best] / ours_ms:.2f} times ours.\n",
    )


if __name__ == "__main__":
    main()
