"""Runs a contender between two topics of a real Kafka and measures it from outside."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from confluent_kafka import Consumer, Producer

from testing.kafka_broker import Cluster

__all__ = [
    "Contender",
    "Encode",
    "Measured",
    "as_json",
    "measure",
    "measure_all",
    "measure_each",
    "outputs",
    "running",
    "service",
    "stamped_by_broker",
    "warm_up",
]

# number, text -> value of a record
Encode = Callable[[int, str], bytes]

_LIMIT_S = 900.0
_WARM_UP_RECORDS = 20_000


@dataclass(frozen=True, slots=True)
class Contender:
    """A command that reads ``input_topic`` and writes one output per record to other topics."""

    name: str
    command: Sequence[str]
    input_topic: str
    output_topics: Sequence[str]


@dataclass(frozen=True, slots=True)
class Measured:
    """One timed run.

    Attributes:
        seconds: from the first record sent to the last output written, by its own timestamp.
        latencies_s: per record, from its input timestamp to its output's.
        peak_bytes: peak resident memory of the command and its children together, so far.
        values: of the outputs, in order of arrival.
    """

    seconds: float
    texts_per_s: float
    latencies_s: list[float]
    peak_bytes: int
    values: list[bytes]

    def latency_ms(self, share: float) -> float:
        """Return this quantile of the latency."""
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def service(
    cluster: Cluster, folder: Path, name: str, settings: Mapping[str, Any], *, partitions: int = 4
) -> Contender:
    """Return our own service with these settings, on separate topics."""
    names = ("texts", "labels", "review", "dead")
    topics = {name: cluster.topic(name, partitions=partitions) for name in names}
    config: dict[str, Any] = {
        "kafka": {"bootstrap_servers": cluster.bootstrap, "group_id": topics["texts"]},
        "input": {"topic": topics["texts"]},
        "output": {
            "labels_topic": topics["labels"],
            "review_topic": topics["review"],
            "dead_letter_topic": topics["dead"],
        },
        "http": {"enabled": False},
        "logging": {"level": "WARNING"},
        # The texts of a benchmark repeat, and no contender gains from that.
        "repeats": {"max_items": 0},
        **settings,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    command = (sys.executable, "-m", "streamlabel", "run", "-c", str(path))
    written = (topics["labels"], topics["review"], topics["dead"])
    return Contender(name, command, topics["texts"], written)


def stamped_by_broker(cluster: Cluster, contender: Contender) -> Contender:
    """Let the broker set the timestamps of outputs when it appends them, not the contender."""
    for topic in contender.output_topics:
        cluster.configure(topic, message_timestamp_type="LogAppendTime")
    return contender


def as_json(number: int, text: str) -> bytes:
    """Return a text as the value of a record, with its number as the id."""
    return json.dumps({"text": text, "id": str(number)}).encode()


def measure(
    cluster: Cluster, contender: Contender, texts: Sequence[str], *, encode: Encode = as_json
) -> Measured:
    """Start the contender, warm it up with 64 texts, send ``texts`` at once, time them."""
    [run] = measure_each(cluster, contender, (texts,), encode=encode)
    return run


def measure_each(
    cluster: Cluster,
    contender: Contender,
    sets: Sequence[Sequence[str]],
    *,
    encode: Encode = as_json,
) -> list[Measured]:
    """Measure one set of texts after the other; only the first one includes a warm-up."""
    runs = []
    with running(contender) as peak, outputs(cluster, contender.output_topics) as reader:
        first = sets[0][:64]
        _send(cluster, contender.input_topic, first, encode)
        _collect(reader, len(first))
        for texts in sets:
            began_s = time.time_ns() / 1e9
            _send(cluster, contender.input_topic, texts, encode)
            latencies_s, last_s, values = _collect(reader, len(texts))
            seconds = last_s - began_s
            runs.append(Measured(seconds, len(texts) / seconds, latencies_s, peak[0], values))
    return runs


def measure_all(
    cluster: Cluster, contenders: Sequence[Contender], texts: Sequence[str], *, outputs_each: int
) -> float:
    """Return texts per second of contenders that run at the same time and read the same topic.

    A text counts when all have written ``outputs_each`` outputs for it together. Warmed up first.
    """
    topics = list(dict.fromkeys(name for each in contenders for name in each.output_topics))
    with contextlib.ExitStack() as stack:
        for each in contenders:
            stack.enter_context(running(each))
        reader = stack.enter_context(outputs(cluster, topics))
        first = texts[:64]
        _send(cluster, contenders[0].input_topic, first)
        _collect(reader, outputs_each * len(first))
        began_s = time.time_ns() / 1e9
        _send(cluster, contenders[0].input_topic, texts)
        _latencies, last_s, _values = _collect(reader, outputs_each * len(texts))
    return len(texts) / (last_s - began_s)


def warm_up(cluster: Cluster) -> None:
    """Let the broker compile its hot paths first: a new JVM uses whole cores for that."""
    topic = cluster.topic("warm-up", partitions=4)
    with outputs(cluster, (topic,)) as reader:
        _send(cluster, topic, ["warm up"] * _WARM_UP_RECORDS)
        _collect(reader, _WARM_UP_RECORDS)


@contextlib.contextmanager
def running(contender: Contender) -> Iterator[list[int]]:
    """Run it; yield the peak resident memory so far, in bytes, children included."""
    process = subprocess.Popen(contender.command)
    peak = [0]
    ended = threading.Event()

    def watch() -> None:
        root = psutil.Process(process.pid)
        family = [root]
        while not ended.wait(1.0):  # listing all processes uses CPU time that would be measured
            with contextlib.suppress(psutil.Error):
                if len(family) == 1:
                    family = [root, *root.children(recursive=True)]
                peak[0] = max(peak[0], sum(member.memory_info().rss for member in family))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def outputs(cluster: Cluster, topics: Sequence[str]) -> Iterator[Consumer]:
    """Yield a reader of these topics that uses little CPU time."""
    reader = Consumer(
        {
            "bootstrap.servers": cluster.bootstrap,
            "group.id": f"reader-{topics[0]}",
            "auto.offset.reset": "earliest",
            # Times are the records' own timestamps, so the reader may be late, and should leave
            # broker and cores to the contender.
            "fetch.min.bytes": 1_000_000,
            "fetch.wait.max.ms": 500,
            "max.poll.interval.ms": 86_400_000,  # it may pause until everything has been sent
        }
    )
    reader.subscribe(list(topics))
    try:
        yield reader
    finally:
        reader.close()


def _send(cluster: Cluster, topic: str, texts: Sequence[str], encode: Encode = as_json) -> None:
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "linger.ms": 5})
    for number, text in enumerate(texts):
        value = encode(number, text)
        producer.produce(topic, value, partition=number % 4)
        producer.poll(0)
    producer.flush()


def _collect(reader: Consumer, count: int) -> tuple[list[float], float, list[bytes]]:
    """Read ``count`` outputs; return their latencies, the last one's timestamp, the values."""
    latencies_s: list[float] = []
    values: list[bytes] = []
    last_ms = 0
    deadline_s = time.monotonic() + _LIMIT_S
    while len(values) < count:
        if time.monotonic() > deadline_s:
            raise SystemExit(f"only {len(values)} of {count} outputs within {_LIMIT_S:g} s")
        for message in reader.consume(500, 0.2):
            if message.error() is not None:
                raise SystemExit(str(message.error()))
            written_ms = message.timestamp()[1]
            last_ms = max(last_ms, written_ms)
            latencies_s.append((written_ms - _input_ms(message.value(), written_ms)) / 1000)
            values.append(message.value() or b"")
    return latencies_s, last_ms / 1000, values


def _input_ms(value: bytes | None, default: int) -> int:
    source = json.loads(value or b"{}").get("source")  # all outputs contain it
    return int(source["timestamp_ms"]) if source else default
