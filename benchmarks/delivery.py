"""The cost of delivery: the service with the null model against a bare aiokafka loop.

The model is a fixed function of the text, so only Kafka, parsing, batching, the communication with
the worker process, encoding and committing are measured. All contenders drain the same backlog; the
rate is that of the records between the first and the last output, by the outputs' own timestamps,
so start-up is not included. Outputs of the bare loop have the same size as those of the service.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Consumer, Producer

from benchmarks import results_file
from benchmarks.backlog import fill
from benchmarks.kafka_to_kafka import Contender, service
from testing.kafka_broker import Cluster

_PARTITIONS = 4
_PACED_PER_S = 1000
_PACED_S = 15
_LIMIT_S = 900.0
_GROWTH_FROM = 100_000


@dataclass(frozen=True, slots=True)
class Drained:
    """The results of draining a backlog.

    Attributes:
        records_per_s: between the first and the last output.
        mean_bytes: of the outputs' values.
        memory_bytes: resident memory of the service process: after 100,000 records, at the end.
        cpu_us: processor time of a record, of all its processes, from the first outputs on.
    """

    records_per_s: float
    mean_bytes: float
    memory_bytes: tuple[int, int]
    cpu_us: float


def null_service(cluster: Cluster, folder: Path, name: str, guarantee: str) -> Contender:
    """Return the service with the null model."""
    settings = {
        "model": {"backend": "fake", "labels": ["ok", "spam", "hate"]},
        "routing": {"threshold": 0.01},
        "delivery": {"guarantee": guarantee},
    }
    return service(cluster, folder, name, settings, partitions=_PARTITIONS)


def bare_loop(cluster: Cluster, size_bytes: int) -> Contender:
    """Return the bare loop with outputs of this size."""
    source = cluster.topic("bare-in", partitions=_PARTITIONS)
    output = cluster.topic("bare-out", partitions=_PARTITIONS)
    script = Path(__file__).with_name("null_loop.py")
    command = (sys.executable, str(script), cluster.bootstrap, source, output, str(size_bytes))
    return Contender("bare", command, source, (output,))


def drain(cluster: Cluster, contender: Contender, records: int) -> Drained:
    """Write a backlog, run the contender, read its outputs."""
    fill(cluster, contender.input_topic, texts(records), partitions=_PARTITIONS)
    reader = _reader(cluster, contender.output_topics, "read_committed")
    seen, size_bytes, first_ms, last_ms = 0, 0, sys.maxsize, 0
    memory = [0, 0]
    began: tuple[int, float] | None = None
    with _running(contender) as process:
        deadline_s = time.monotonic() + _LIMIT_S
        while seen < records:
            if time.monotonic() > deadline_s:
                raise SystemExit(f"{contender.name}: {seen} of {records} within {_LIMIT_S:g} s")
            for message in reader.consume(2000, 0.2):
                if message.error() is not None:
                    raise SystemExit(str(message.error()))
                seen += 1
                size_bytes += len(message.value() or b"")
                written_ms = message.timestamp()[1]
                first_ms, last_ms = min(first_ms, written_ms), max(last_ms, written_ms)
            if seen and began is None:
                began = seen, _cpu_s(process)
            if not memory[0] and seen >= min(records, _GROWTH_FROM):
                memory[0] = process.memory_info().rss
        memory[1] = process.memory_info().rss
        ended_s = _cpu_s(process)
    reader.close()
    seconds = (last_ms - first_ms) / 1000
    before, began_s = began or (0, 0.0)
    cpu_us = 1e6 * (ended_s - began_s) / max(1, records - before)
    return Drained(records / seconds, size_bytes / records, (memory[0], memory[1]), cpu_us)


def _cpu_s(process: psutil.Process) -> float:
    """Return the processor time of a process and of its children that still run."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def latency_ms(cluster: Cluster, contender: Contender) -> tuple[float, float]:
    """Return p50 and p99 from sending to visibility for ``read_committed``, at 1,000 records/s."""
    reader = _reader(cluster, contender.output_topics, "read_committed")
    waits: list[float] = []
    total = _PACED_PER_S * _PACED_S
    with _running(contender):
        fill(cluster, contender.input_topic, texts(100), partitions=_PARTITIONS)
        _count(reader, 100, [])
        sender = threading.Thread(target=_pace, args=(cluster, contender.input_topic, total))
        sender.start()
        _count(reader, total, waits)
        sender.join()
    reader.close()
    waits.sort()
    return waits[len(waits) // 2], waits[int(len(waits) * 0.99)]


def _count(reader: Consumer, count: int, waits: list[float]) -> None:
    seen = 0
    deadline_s = time.monotonic() + _LIMIT_S
    while seen < count and time.monotonic() < deadline_s:
        for message in reader.consume(500, 0.01):
            source_ms = json.loads(message.value() or b"{}")["source"]["timestamp_ms"]
            waits.append(time.time_ns() / 1e6 - source_ms)
            seen += 1


def _pace(cluster: Cluster, topic: str, total: int) -> None:
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "linger.ms": 1})
    began_s = time.monotonic()
    for number in range(total):
        due_s = began_s + number / _PACED_PER_S
        if (wait_s := due_s - time.monotonic()) > 0:
            producer.flush(0)
            time.sleep(wait_s)
        producer.produce(topic, _value(number), partition=number % _PARTITIONS)
    producer.flush()


def texts(count: int) -> Iterator[bytes]:
    """Yield this many records of equal, typical length."""
    return map(_value, range(count))


def _value(number: int) -> bytes:
    return b'{"id":"%d","text":"a text of a usual length for a chat, number %d"}' % (number, number)


def _reader(cluster: Cluster, topics: Sequence[str], isolation: str) -> Consumer:
    reader = Consumer(
        {
            "bootstrap.servers": cluster.bootstrap,
            "group.id": f"reader-{uuid.uuid4()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "fetch.wait.max.ms": 10,
            "queued.max.messages.kbytes": 32_000,
        }
    )
    reader.subscribe(list(topics))
    return reader


@contextmanager
def _running(contender: Contender) -> Iterator[psutil.Process]:
    process = subprocess.Popen(contender.command)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _row(name: str, runs: Sequence[Drained]) -> str:
    rates = [run.records_per_s for run in runs]
    spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
    return f"| {name} | {statistics.median(rates):,.0f} | {spread} |\n"


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000, help="of one timed backlog")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--flat", type=int, default=1_000_000, help="records of the memory run")
    options = parser.parse_args()
    runs: dict[str, list[Drained]] = {"bare": [], "at_least_once": [], "exactly_once": []}
    latencies: dict[str, tuple[float, float]] = {}
    cluster = Cluster.open()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            probe = drain(cluster, null_service(cluster, folder, "probe", "at_least_once"), 5000)
            for number in range(options.rounds + 1):
                bare = bare_loop(cluster, round(probe.mean_bytes))
                runs["bare"].append(drain(cluster, bare, options.records))
                for guarantee in ("at_least_once", "exactly_once"):
                    ours = null_service(cluster, folder, f"{guarantee}{number}", guarantee)
                    runs[guarantee].append(drain(cluster, ours, options.records))
            # The first round warms up the broker: a freshly started JVM is up to three times
            # slower.
            runs = {name: of_name[1:] for name, of_name in runs.items()}
            for guarantee in ("at_least_once", "exactly_once"):
                ours = null_service(cluster, folder, f"paced-{guarantee}", guarantee)
                latencies[guarantee] = latency_ms(cluster, ours)
            flat = drain(
                cluster, null_service(cluster, folder, "flat", "at_least_once"), options.flat
            )
    finally:
        cluster.close()
    _write(options, runs, latencies, flat, probe.mean_bytes)


def _write(
    options: argparse.Namespace,
    runs: Mapping[str, Sequence[Drained]],
    latencies: Mapping[str, tuple[float, float]],
    flat: Drained,
    mean_bytes: float,
) -> None:
    median = {
        name: statistics.median(run.records_per_s for run in of_name)
        for name, of_name in runs.items()
    }
    growth = flat.memory_bytes[1] / flat.memory_bytes[0] - 1
    figures: dict[str, float] = {
        "alo_over_bare": median["at_least_once"] / median["bare"],
        "eos_over_alo": median["exactly_once"] / median["at_least_once"],
        "memory_growth": growth,
        "bare_records_per_s": median["bare"],
        "alo_records_per_s": median["at_least_once"],
        "eos_records_per_s": median["exactly_once"],
        "flat_records_per_s": flat.records_per_s,
        "memory_mib": flat.memory_bytes[1] / 2**20,
    }
    for guarantee, (p50, p99) in latencies.items():
        short = "alo" if guarantee == "at_least_once" else "eos"
        figures |= {f"{short}_p50_ms": p50, f"{short}_p99_ms": p99}
    page = (
        f"Null model, {_PARTITIONS} partitions, {options.records:,} records a run, outputs of"
        f" {mean_bytes:.0f} bytes, medians of {options.rounds} interleaved rounds behind one that"
        " warms the broker up, broker on the same machine.\n\n"
        "| | records/s | spread |\n| --- | ---: | ---: |\n"
        + _row("bare aiokafka loop", runs["bare"])
        + _row("service, at least once", runs["at_least_once"])
        + _row("service, exactly once", runs["exactly_once"])
        + f"\nat least once / bare = {figures['alo_over_bare']:.2f}; exactly once / at least once ="
        f" {figures['eos_over_alo']:.2f}.\n\n"
        f"At {_PACED_PER_S:,} records a second, from sent to visible for `read_committed`: at least"
        f" once p50 {figures['alo_p50_ms']:.0f} ms, p99 {figures['alo_p99_ms']:.0f} ms; exactly"
        f" once p50 {figures['eos_p50_ms']:.0f} ms, p99 {figures['eos_p99_ms']:.0f} ms.\n\n"
        f"Memory of the service process over {options.flat:,} records:"
        f" {flat.memory_bytes[0] / 2**20:.0f} MiB after {_GROWTH_FROM:,},"
        f" {flat.memory_bytes[1] / 2**20:.0f} MiB at the end ({growth:+.1%}).\n"
    )
    details: dict[str, Any] = {
        "runs": {name: [round(run.records_per_s) for run in of] for name, of in runs.items()}
    }
    results_file.write(
        "delivery",
        command=f"python -m benchmarks.delivery --records {options.records}"
        f" --rounds {options.rounds} --flat {options.flat}",
        figures=figures,
        page=page,
        details=details,
    )


if __name__ == "__main__":
    main()
