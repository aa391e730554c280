"""The service with the null model against a bare aiokafka loop that an expert has tuned for it.

    python -m benchmarks.expert

Both write records of the same content to the same topics with each guarantee, and drain the same
backlogs on one broker in turns. Rates are those of ``benchmarks.delivery``. Beside them stands the
processor time of a record, of all processes of a contender without its start, which depends less on
what else runs.
"""

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks import results_file
from benchmarks.delivery import Drained, drain
from benchmarks.kafka_to_kafka import Contender, service, warm_up
from testing.kafka_broker import Cluster

__all__ = ["LABELS", "expert_loop", "null_service", "ratios"]

_PARTITIONS: Final = 4
LABELS: Final = ("ok", "spam", "hate")
_SHORT: Final = {"at_least_once": "alo", "exactly_once": "eos"}
# Outputs of both have the same fields; only digits of numbers differ.
_BYTES_APART: Final = 0.02


def expert_loop(cluster: Cluster, guarantee: str) -> Contender:
    """Return the loop, on topics of its own."""
    names = ("texts", "labels", "review", "dead")
    topics = [cluster.topic(f"expert-{name}", partitions=_PARTITIONS) for name in names]
    script = Path(__file__).with_name("expert_loop.py")
    command = (sys.executable, str(script), cluster.bootstrap, *topics, guarantee)
    return Contender("expert", command, topics[0], topics[1:])


def null_service(cluster: Cluster, folder: Path, name: str, guarantee: str) -> Contender:
    """Return the service with the null model and the usual threshold: a quarter is reviewed."""
    settings = {
        "model": {"backend": "fake", "labels": list(LABELS)},
        "delivery": {"guarantee": guarantee},
    }
    return service(cluster, folder, name, settings, partitions=_PARTITIONS)


def ratios(ours: Sequence[Drained], theirs: Sequence[Drained]) -> list[float]:
    """Return our rate over theirs, by round."""
    pairs = zip(ours, theirs, strict=True)
    return [one.records_per_s / other.records_per_s for one, other in pairs]


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000, help="of one timed backlog")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    runs: dict[str, list[Drained]] = defaultdict(list)
    cluster = Cluster.open()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            warm_up(cluster)
            for number in range(options.rounds + 1):  # the first one warms up
                for guarantee in _SHORT:
                    contenders = {
                        f"expert {guarantee}": expert_loop(cluster, guarantee),
                        f"service {guarantee}": null_service(
                            cluster, Path(scratch), f"{guarantee}{number}", guarantee
                        ),
                    }
                    for name in sorted(contenders, reverse=number % 2 == 0):
                        runs[name].append(drain(cluster, contenders[name], options.records))
    finally:
        cluster.close()
    _write(options, {name: of[1:] for name, of in runs.items()})


def _write(options: argparse.Namespace, runs: Mapping[str, Sequence[Drained]]) -> None:
    figures: dict[str, float] = {}
    rows, mean_bytes = "", 0.0
    for guarantee, short in _SHORT.items():
        expert, ours = runs[f"expert {guarantee}"], runs[f"service {guarantee}"]
        theirs_bytes, mean_bytes = (
            statistics.median(run.mean_bytes for run in of) for of in (expert, ours)
        )
        if abs(theirs_bytes / mean_bytes - 1) > _BYTES_APART:
            raise SystemExit(
                f"outputs differ, change expert_loop.py: {theirs_bytes:.0f}, {mean_bytes:.0f} bytes"
            )
        each = ratios(ours, expert)
        figures[f"{short}_over_expert"] = statistics.median(each)
        for name, of in (("expert", expert), ("service", ours)):
            rate = statistics.median(run.records_per_s for run in of)
            cpu_us = statistics.median(run.cpu_us for run in of)
            figures[f"{short}_{name}_records_per_s"] = rate
            figures[f"{short}_{name}_cpu_us"] = cpu_us
            ratio = (
                f"{statistics.median(each):.2f} | {min(each):.2f} to {max(each):.2f}"
                if of is ours
                else "1 |"
            )
            what = f"{name}, {guarantee.replace('_', ' ')}"
            rows += f"| {what} | {rate:,.0f} | {cpu_us:.1f} | {ratio} |\n"
    page = (
        f"Null model, {_PARTITIONS} partitions, {options.records:,} records a run, outputs of"
        f" {mean_bytes:.0f} bytes, a quarter of them to the review topic; medians of"
        f" {options.rounds} rounds in turns behind one that warms up, broker on the same machine."
        " Processor time of a record: of the contender's processes, from its first output on.\n\n"
        "| | records/s | µs of processor time | ratio, median of rounds | range |\n"
        f"| --- | ---: | ---: | ---: | ---: |\n{rows}"
    )
    results_file.write(
        "expert",
        command=f"python -m benchmarks.expert --records {options.records}"
        f" --rounds {options.rounds}",
        figures=figures,
        page=page,
        details={
            "runs": {
                name: [[round(run.records_per_s), round(run.cpu_us, 1)] for run in of]
                for name, of in runs.items()
            }
        },
        libraries=("aiokafka", "confluent-kafka", "orjson"),
    )


if __name__ == "__main__":
    main()
