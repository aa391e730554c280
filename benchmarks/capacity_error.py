"""How well ``streamlabel capacity`` predicts: one process measured, then four on a real Kafka.

The model sleeps for a time that is proportional to the padded tokens of a batch, so four processes
fit on a machine with two cores.
"""

import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.backlog import ends, written
from benchmarks.fleet import drain
from benchmarks.kafka_to_kafka import service, stamped_by_broker, warm_up
from testing import texts
from testing.kafka_broker import LocalCluster

__all__ = ["PROCESSES", "measure"]

PROCESSES: Final = 4
_PARTITIONS: Final = 16
_SETTINGS: Final = {
    # about the time of MiniLM on a core
    "model": {"backend": "fake", "token_s": 0.0001},
    # few texts in flight: short texts of them are done before long ones, so a rate over less than
    # several times as many depends on where it begins
    "batching": {"max_batch_tokens": 1024, "max_in_flight_items": 512},
    "logging": {"level": "ERROR"},
}


def measure(*, seconds: float) -> tuple[float, float]:
    """Return texts/s of four processes: as the command predicts, and as they make.

    Args:
        seconds: of the command's measurement, and about so long is the backlog of the processes.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        mix = folder / "mix.jsonl"
        mix.write_bytes(b"\n".join(_mixed(len(texts.heavy_tailed_mix()))))
        cluster = LocalCluster.start()
        try:
            contender = stamped_by_broker(
                cluster, service(cluster, folder, "four", _SETTINGS, partitions=_PARTITIONS)
            )
            one = _predicted(contender.command[-1], mix, seconds)
            warm_up(cluster)
            before = ends(cluster, contender.output_topics)
            records = round(PROCESSES * one * seconds)
            drain(
                cluster,
                contender,
                _mixed(records),
                group=contender.input_topic,
                processes=PROCESSES,
                partitions=_PARTITIONS,
            )
            stamps = [stamp for stamp, _ in written(cluster, before, records=records)]
        finally:
            cluster.close()
    return PROCESSES * one, _middle_rate(stamps)


def _middle_rate(stamps: Sequence[float]) -> float:
    """Return outputs/s between a fifth and four fifths of them: all processes work all the time."""
    first, last = len(stamps) // 5, 4 * len(stamps) // 5
    return (last - first) / (stamps[last] - stamps[first])


def _predicted(config: str, file: Path, seconds: float) -> float:
    """Return texts/s of one process, as the command says."""
    command = (sys.executable, "-m", "streamlabel", "capacity", "-c", config, "--json")
    done = subprocess.run(
        [*command, "--texts-per-s", "1000", "--seconds", str(seconds), "--file", str(file)],
        capture_output=True,
        check=True,
    )
    return float(json.loads(done.stdout)["measured"]["per_process"])


def _mixed(count: int) -> Iterator[bytes]:
    mix = itertools.cycle(texts.heavy_tailed_mix())
    for number, text in zip(range(count), mix, strict=False):
        yield json.dumps({"id": str(number), "text": text}).encode()
