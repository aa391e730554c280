"""Kafka to Kafka, compared with stream frameworks and model servers with the same model.

On a heavy-tailed mix of real texts and on uniform short texts, in interleaved rounds: FastStream,
Quix Streams and a confluent-kafka loop with the transformers pipeline, model servers behind an
aiokafka loop, and our service in fp32 and with ``model.dtype: auto``.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import plot, results_file
from benchmarks.kafka_to_kafka import Contender, measure, measure_each, warm_up
from benchmarks.peers.contenders import OURS, PEERS, fitted_model, our_contender
from benchmarks.peers.report import Runs, agreement, answers, bars, figures, page
from testing import texts
from testing.kafka_broker import Cluster


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=400, help="of each kind")
    options = parser.parse_args()
    for peer in PEERS:
        peer.prepare()
    model = fitted_model()
    runs = {title: Runs() for title in (*(peer.title for peer in PEERS), *OURS)}
    sets = (
        texts.thinned(texts.heavy_tailed_mix(), options.texts),
        texts.uniform_short(options.texts),
    )
    with tempfile.TemporaryDirectory() as scratch:
        cluster = Cluster.open()
        try:
            warm_up(cluster)
            for number in range(options.rounds):
                for title, kept in runs.items():
                    mix, short = measure_each(
                        cluster, _contender(cluster, Path(scratch), title, model), sets
                    )
                    kept.mix.append(mix)
                    kept.short.append(short)
                    _say(f"round {number + 1}, {title}: {mix.texts_per_s:.1f} texts/s on the mix")
            careful = _precisions(cluster, Path(scratch), model)
        finally:
            cluster.close()
    _write(options, runs, careful)


def _contender(cluster: Cluster, folder: Path, title: str, model: Path) -> Contender:
    for peer in PEERS:
        if peer.title == title:
            return peer.contender(cluster, model)
    return our_contender(cluster, folder, title, model)


def _precisions(cluster: Cluster, folder: Path, model: Path) -> tuple[float, float]:
    """Compare our two precisions on the whole mix."""
    mix = texts.heavy_tailed_mix()
    full, careful = (
        answers(measure(cluster, our_contender(cluster, folder, title, model), mix))
        for title in OURS
    )
    return agreement(full, careful)


def _write(
    options: argparse.Namespace, runs: dict[str, Runs], careful: tuple[float, float]
) -> None:
    found = figures(runs, careful)
    cores = results_file.hardware()["cores"]
    plot.bars(
        results_file.RESULTS / "peers.svg",
        f"Kafka to Kafka, heavy-tailed mix of texts, MiniLM, {cores} cores",
        bars({title: each.mix_rate for title, each in runs.items()}, found),
        ours=tuple(OURS),
    )
    results_file.write(
        "peers",
        command=f"python -m benchmarks.peers --rounds {options.rounds} --texts {options.texts}",
        figures=found,
        page=page(runs, found, compared=len(texts.heavy_tailed_mix())),
        details={
            "mix_texts_per_s": {
                t: [run.texts_per_s for run in each.mix] for t, each in runs.items()
            },
            "short_texts_per_s": {
                t: [run.texts_per_s for run in each.short] for t, each in runs.items()
            },
            "peers": {peer.name: peer.pins for peer in PEERS},
            "careful": dict(list(OURS.values())[-1]),
        },
    )


def _say(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")


if __name__ == "__main__":
    main()
