"""Time from starting the service to its first label, and its parts.

A record is already in the topic, files are in the page cache, bytecode is compiled as in an
installed package, and the model is MiniLM in fp32.
Parts are delimited by log lines of the service.
"""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.kafka_to_kafka import outputs, service, stamped_by_broker
from testing.kafka_broker import Cluster

__all__ = ["PARTS", "Start", "median_parts", "start"]

# Log line at the end of a part -> description; "" is the first label itself.
PARTS = {
    "http_listening": "Python, imports and settings",
    "worker_started": "worker process, imports and model",
    "partitions_assigned": "joining the group",
    "": "the first batch and its output",
}
_LIMIT_S = 120.0
_TEXT = json.dumps({"id": "first", "text": "a first text that waits for its label"}).encode()


@dataclass(frozen=True, slots=True)
class Start:
    """One start.

    Attributes:
        seconds: from spawning the command to the timestamp that the broker gave the label.
        parts_s: log line of PARTS -> its time in seconds after spawning.
    """

    seconds: float
    parts_s: dict[str, float]


def start(cluster: Cluster, folder: Path, name: str, model: Path) -> Start:
    """Start the service once with a waiting text; return the time to its label."""
    settings = {
        "model": {"backend": "encoder", "path": str(model), "device": "cpu"},
        "http": {"host": "127.0.0.1", "port": 0},
        "logging": {"level": "INFO", "format": "json"},
    }
    contender = stamped_by_broker(cluster, service(cluster, folder, name, settings))
    cluster.produce(contender.input_topic, [_TEXT])
    log = folder / f"{name}.log"
    with outputs(cluster, contender.output_topics) as reader, log.open("wb") as errors:
        reader.poll(1.0)  # joins its group before the clock starts
        began_s = time.time_ns() / 1e9
        process = subprocess.Popen(contender.command, stderr=errors, env=_with_bytecode(folder))
        try:
            label = reader.poll(_LIMIT_S)
        finally:
            process.terminate()
            process.wait(60)
    if label is None or label.error() is not None:
        raise SystemExit(f"no label within {_LIMIT_S:g} s:\n{log.read_text()}")
    seconds = label.timestamp()[1] / 1000 - began_s
    return Start(seconds, {**_times(log, began_s), "": seconds})


def _with_bytecode(folder: Path) -> dict[str, str]:
    """Return the environment in which the first start compiles the modules for later ones.

    pip compiles what it installs, but a checkout has bytecode only if Python may write it.
    """
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    return environ


def median_parts(starts: Sequence[Start]) -> dict[str, float]:
    """Return part -> median seconds between its log line and the previous one."""
    found: dict[str, list[float]] = {}
    for each in starts:
        before_s = 0.0
        for line, part in PARTS.items():
            at_s = each.parts_s.get(line, before_s)
            found.setdefault(part, []).append(at_s - before_s)
            before_s = at_s
    return {part: statistics.median(seconds) for part, seconds in found.items()}


def _times(log: Path, began_s: float) -> dict[str, float]:
    times: dict[str, float] = {}
    for text in log.read_text().splitlines():
        if not text.startswith("{"):
            continue
        line = json.loads(text)
        if line["event"] in PARTS:
            times.setdefault(
                line["event"], datetime.fromisoformat(line["ts"]).timestamp() - began_s
            )
    return times
