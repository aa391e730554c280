"""Scaling of processes on a real Kafka, with a simulated model and with the null model.

The simulated model sleeps for the batch times that were measured for MiniLM on this machine, so
many processes fit on few cores, and only the rest is measured: consumers, brokers and the
communication between them. The null model and the bare loop, with one and two processes on four
partitions, show the limits without a model.
"""

import argparse
import itertools
import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import delivery, scale_page
from benchmarks.engine_times import EngineTimes, engine_times
from benchmarks.fleet import Drained, drain
from benchmarks.kafka_to_kafka import Contender, service, stamped_by_broker, warm_up
from testing import minilm, texts
from testing.kafka_broker import LocalCluster

_PARTITIONS = 64
_NULL_PARTITIONS = 4
_NULL_ROUNDS = 3
_GUARANTEE = "at_least_once"
_BATCH_TOKENS = 1024  # the encoder's default on a CPU


def sleeping(cluster: LocalCluster, folder: Path, times: EngineTimes) -> Contender:
    """Return the service with a model that sleeps for the encoder's computing time."""
    settings = {
        "model": {
            "backend": "fake",
            "token_s": times.streams / times.tokens_per_s,
            "max_in_flight": times.streams,
        },
        "batching": {"max_batch_tokens": _BATCH_TOKENS},
        "logging": {"level": "ERROR"},  # starting fleets log warnings about rebalances
    }
    contender = service(cluster, folder, "sleeping", settings, partitions=_PARTITIONS)
    return stamped_by_broker(cluster, contender)


def mixed(count: int) -> Iterator[bytes]:
    """Yield this many records of the heavy-tailed mix."""
    mix = itertools.cycle(texts.heavy_tailed_mix())
    for number, text in zip(range(count), mix, strict=False):
        yield json.dumps({"id": str(number), "text": text}).encode()


def fleets(
    cluster: LocalCluster,
    contender: Contender,
    sizes: Sequence[int],
    *,
    seconds: float,
    per_s: float,
) -> list[Drained]:
    """Drain backlogs of about this many seconds with fleets of these sizes.

    ``per_s`` is the expected rate of one process; the first fleet corrects it.
    """
    found: list[Drained] = []
    for size in sizes:
        if found:
            per_s = found[0].records_per_s / found[0].processes
        # At least several batches per process, because the first and last ones are not typical.
        records = max(round(per_s * seconds * size), size * 100)
        found.append(
            drain(
                cluster,
                contender,
                mixed(records),
                group=contender.input_topic,
                processes=size,
                partitions=_PARTITIONS,
            )
        )
    return found


def two_over_one(
    cluster: LocalCluster, folder: Path, records: int
) -> dict[str, dict[int, list[Drained]]]:
    """Return the drains of null model and bare loop with one and two processes, interleaved."""
    probe = delivery.drain(
        cluster, delivery.null_service(cluster, folder, "probe", _GUARANTEE), 5000
    )
    found: dict[str, dict[int, list[Drained]]] = {"null": {1: [], 2: []}, "bare": {1: [], 2: []}}
    for number in range(_NULL_ROUNDS):
        for size in (1, 2):
            ours = delivery.null_service(cluster, folder, f"null{size}-{number}", _GUARANTEE)
            bare = delivery.bare_loop(cluster, round(probe.mean_bytes))
            for contender, group in ((ours, ours.input_topic), (bare, f"null-{bare.input_topic}")):
                name = "null" if contender is ours else "bare"
                found[name][size].append(
                    drain(
                        cluster,
                        stamped_by_broker(cluster, contender),
                        delivery.texts(records),
                        group=group,
                        processes=size,
                        partitions=_NULL_PARTITIONS,
                    )
                )
    return found


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="of work for every fleet")
    parser.add_argument("--most", type=int, default=32, help="processes of the largest fleet")
    parser.add_argument("--records", type=int, default=100_000, help="for the null model")
    parser.add_argument("--mix", type=int, default=400, help="texts for the model's times")
    options = parser.parse_args()
    sizes = [size for size in (1, 2, 4, 8, 16, 32) if size <= options.most]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        times = engine_times(minilm.save(folder / "minilm"), limit=options.mix)
        cluster = LocalCluster.start()  # its processes are measured, so no external one
        try:
            warm_up(cluster)
            tokens = statistics.mean(2 + len(text) // 4 for text in texts.heavy_tailed_mix())
            rows = fleets(
                cluster,
                sleeping(cluster, folder, times),
                sizes,
                seconds=options.seconds,
                per_s=times.tokens_per_s / tokens,
            )
            null = two_over_one(cluster, folder, options.records)
        finally:
            cluster.close()
    command = f"python -m benchmarks.scale --seconds {options.seconds:g} --most {options.most}"
    scale_page.write(
        rows,
        null,
        times,
        input_bytes=statistics.mean(map(len, mixed(len(texts.heavy_tailed_mix())))),
        command=f"{command} --records {options.records}",
    )


if __name__ == "__main__":
    main()
