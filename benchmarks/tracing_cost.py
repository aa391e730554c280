"""What tracing costs: the service without its code, with tracing off, and with 1 % traced.

All three drain the same backlogs with the null model on one broker, in turns. *Before* is a copy of
this checkout whose pipeline has no line about traces, so nothing else differs; a test keeps the
copy possible. Rates of single runs differ by several per cent, so there are many rounds, and the
processor time of a record stands beside them, which differs less. Spans go to a collector of its
own process, which takes them and forgets them.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.delivery import Drained, drain, null_service
from benchmarks.kafka_to_kafka import Contender, warm_up
from testing.kafka_broker import Cluster

__all__ = ["NAMES", "measure", "ratio", "without_traces"]

NAMES: Final = ("before", "off", "sampled")
_ROOT = Path(__file__).parents[1]
_FOLDERS = ("config", "consumer", "models", "streamlabel")
_GUARANTEE = "at_least_once"
# What the pipeline has for traces, and what stands there without them; each occurs once.
_LINES: Final = (
    (
        "        if self._watch is not None:\n"
        "            self._watch.batch(results, now_ns=self._clock.epoch_ms() * 1_000_000)\n",
        "",
    ),
    (
        "        if self._watch is not None:\n            self._watch.opened(jobs)\n",
        "        del jobs\n",
    ),
)
_COLLECTOR = """
import http.server

class Answer(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
print(server.server_port, flush=True)
server.serve_forever()
"""


def copied(folder: Path) -> Path:
    """Copy the service into a folder; return it."""
    for name in _FOLDERS:
        shutil.copytree(
            _ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    return folder


def without_traces(folder: Path) -> Path:
    """Copy the service into a folder, without the lines about traces in its pipeline.

    Raises:
        ValueError: the pipeline has other lines now; change ``_LINES``.
    """
    path = copied(folder) / "consumer" / "pipeline.py"
    text = path.read_text()
    for line, instead in _LINES:
        if text.count(line) != 1:
            raise ValueError(f"not once in consumer/pipeline.py: {line.strip()!r}")
        text = text.replace(line, instead)
    path.write_text(text)
    return folder


def measure(*, records: int, rounds: int) -> dict[str, list[Drained]]:
    """Return the runs of each contender, by round; a first round warms up and is left out."""
    runs: dict[str, list[Drained]] = {name: [] for name in NAMES}
    cluster = Cluster.open()
    try:
        with tempfile.TemporaryDirectory() as scratch, _collector() as endpoint:
            folder = Path(scratch)
            # Both from a copy: an installed package is found in another way than a folder.
            stripped, whole = without_traces(folder / "stripped"), copied(folder / "whole")
            tracing = {"enabled": True, "sample": 0.01, "endpoint": endpoint}
            warm_up(cluster)
            for number in range(rounds + 1):
                for name in _turn(number):
                    made = null_service(cluster, folder, f"{name}{number}", _GUARANTEE)
                    if name == "sampled":
                        _set(made, tracing=tracing)
                    made = _of(stripped if name == "before" else whole, made)
                    runs[name].append(drain(cluster, made, records))
    finally:
        cluster.close()
    return {name: of[1:] for name, of in runs.items()}


def ratio(values: Mapping[str, Sequence[float]], name: str) -> tuple[float, float, float]:
    """Return the median, least and largest value of a contender over *before* of its round."""
    each = [mine / theirs for mine, theirs in zip(values[name], values["before"], strict=True)]
    return statistics.median(each), min(each), max(each)


def _turn(number: int) -> Sequence[str]:
    """Begin each round with another one, so that none has the warmest broker every time."""
    at = number % len(NAMES)
    return NAMES[at:] + NAMES[:at]


def _of(folder: Path, contender: Contender) -> Contender:
    # -P: without it the folder that this runs in would come before PYTHONPATH
    program = ("env", f"PYTHONPATH={folder}", sys.executable, "-P", "-m", "streamlabel")
    return replace(contender, command=(*program, "run", "-c", contender.command[-1]))


def _set(contender: Contender, **sections: Any) -> None:  # noqa: ANN401 settings
    path = Path(contender.command[-1])
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | sections))


@contextmanager
def _collector() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-c", _COLLECTOR], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1/traces"
    finally:
        process.kill()
        process.wait()
