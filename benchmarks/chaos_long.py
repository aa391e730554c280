"""The long form of the chaos table, in parts that add up: what hours of faults and load show.

    python -m benchmarks.chaos_long --minutes 60     continue; begin nothing after an hour
    python -m benchmarks.chaos_long --only kills     one part
    python -m benchmarks.chaos_long --keep FOLDER    leave configurations and logs there
    python -m benchmarks.chaos_long --dry            what is still to do

Each slice is a few faults, or minutes of load, on a real Kafka. Its result is stored as soon as it
ends, and counts for ever: a run continues where the one before was interrupted, on this machine or
another. Slices that fail are kept and counted, too. The table is complete when every part has
reached its number, and a success when there are only zeros. Where the cluster has one broker that
is killed, Kafka itself can double outputs of exactly once: these are counted apart.
"""

import argparse
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any, Final

import psutil
import yaml
from confluent_kafka import KafkaException, Producer

from benchmarks import results_file
from testing.chaos.place import Place
from testing.chaos.processes import ServiceProcess
from testing.chaos.run import Delivery
from testing.chaos.scenarios import BOTH, SCENARIOS, perform
from testing.kafka_broker import KafkaMissingError, wait_until

__all__ = ["PARTS", "Part", "figures_of", "next_part", "table_of"]

_NAME: Final = "chaos_long"
_PARTITIONS: Final = 4
_RATE_S: Final = 200.0
# Of a soak, before memory is compared: the first minutes import and fill caches.
_WARM: Final = 0.25
# A shorter slice shows no growth of memory, only the noise of the allocator.
_LEAST_MINUTES: Final = 20.0
# What Kafka itself can double: docs/guarantees.md, "A cluster of one broker".
_ONLY_BROKER: Final = "only_broker_losses"

Slice = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """What is done how often.

    Attributes:
        name: as in the figures.
        target: how many in the whole table.
        slice: how many at a time.
        scenario: of the chaos table; empty: pytest or the soak.
        tests: instead: files and names of tests on a real Kafka.
    """

    name: str
    target: float
    slice: float
    scenario: str = ""
    tests: Sequence[str] = ()


PARTS: Final[Mapping[str, Part]] = {
    part.name: part
    for part in (
        Part("kills", 200, 10, "service-killed"),
        Part("zombies", 50, 5, "zombie"),
        Part("rebalances", 100, 10, "members-come-and-go"),
        Part("broker_losses", 10, 2, "leader-killed"),
        Part(_ONLY_BROKER, 10, 2, "broker-killed"),
        Part("fuzzed_values", 100_000, 10_000, "fuzzed-values"),
        Part("upgrades", 2, 1, tests=("tests/kafka/test_rolling_upgrade.py",)),
        Part(
            "certificate_rotations",
            2,
            1,
            tests=("tests/kafka/test_security.py", "-k", "renewed_certificate"),
        ),
        Part("soak_minutes", 120, 30),
    )
}


def next_part(slices: Sequence[Slice], only: str | None = None) -> Part | None:
    """Return the part that is furthest from its number; None if all have reached theirs."""
    done = _done(slices)
    open_parts = [
        part
        for part in PARTS.values()
        if done[part.name] < part.target and only in {None, part.name}
    ]
    return min(open_parts, key=lambda part: done[part.name] / part.target, default=None)


def figures_of(slices: Sequence[Slice]) -> dict[str, float]:
    """Return the sums of all slices."""
    done = _done(slices)
    promised = [each for each in slices if each["part"] != _ONLY_BROKER]
    lone = [each for each in slices if each["part"] == _ONLY_BROKER]
    growth = [each["memory_growth"] for each in slices if each.get("memory_growth") is not None]
    return {
        **done,
        **({"memory_growth": max(growth)} if growth else {}),
        "lost": sum(each["lost"] for each in slices),
        "exactly_once_doubled": _doubled(promised),
        "only_broker_doubled": _doubled(lone),
        "out_of_order": sum(each["out_of_order"] for each in slices),
        "slices": len(slices),
        "slices_failed": sum(not each["passed"] for each in slices),
        "parts_complete": sum(done[part.name] >= part.target for part in PARTS.values()),
        "parts": len(PARTS),
    }


def _done(slices: Sequence[Slice]) -> dict[str, float]:
    # what failed does not count as done
    return {
        name: sum(each["count"] for each in slices if each["part"] == name and each["passed"])
        for name in PARTS
    }


def _doubled(slices: Sequence[Slice]) -> int:
    return sum(each["doubled"] for each in slices if each["delivery"] == "exactly_once")


def table_of(slices: Sequence[Slice]) -> str:
    """Return a table in Markdown with one row for each part."""
    titles = ("part", "to do", "done", "lost", "duplicated, exactly once", "out of order", "failed")
    rows = "".join(_row(part, slices) for part in PARTS.values())
    return f"| {' | '.join(titles)} |\n| --- |{' ---: |' * (len(titles) - 1)}\n{rows}"


def _row(part: Part, slices: Sequence[Slice]) -> str:
    own = [each for each in slices if each["part"] == part.name]
    cells = (
        part.name.replace("_", " "),
        f"{part.target:,g}",
        f"{_done(slices)[part.name]:,.6g}",
        sum(each["lost"] for each in own),
        _doubled(own),
        sum(each["out_of_order"] for each in own),
        sum(not each["passed"] for each in own),
    )
    return "| " + " | ".join(map(str, cells)) + " |\n"


def _stored() -> list[Slice]:
    path = results_file.RESULTS / f"{_NAME}.json"
    return json.loads(path.read_text())["slices"] if path.exists() else []


def _store(slices: Sequence[Slice]) -> None:
    figures = figures_of(slices)
    growth = (
        f"{figures['memory_growth']:+.1%}" if "memory_growth" in figures else "not measured yet"
    )
    page = (
        "Sums of all slices that were stored so far; a part that is below its number is not"
        " complete yet. Broker losses are those of one of three brokers. Where the only broker of"
        " a cluster is killed, Kafka itself can double outputs"
        " ([guarantees](../../docs/guarantees.md)): these are in their own row, and not in the sum"
        f" below.\n\n{table_of(slices)}\n"
        f"Lost {figures['lost']:g}, duplicated with exactly once"
        f" {figures['exactly_once_doubled']:g}, out of order {figures['out_of_order']:g};"
        f" {figures['slices_failed']:g} of"
        f" {figures['slices']:g} slices failed. Largest growth of memory in a soak of at least"
        f" {_LEAST_MINUTES:g} minutes: {growth}.\n"
    )
    results_file.write(
        _NAME,
        command="python -m benchmarks.chaos_long",
        figures=figures,
        page=page,
        details={"slices": list(slices)},
        libraries=("aiokafka", "confluent-kafka"),
    )


def _faults(
    part: Part, place: Place, delivery: Delivery, count: float, folder: Path
) -> list[Slice]:
    """Run a scenario; a fault in the broker affects both deliveries."""
    scenario = SCENARIOS[part.scenario]
    deliveries = list(BOTH) if scenario.shakes_broker else [delivery]
    seed = random.randrange(2**31)  # of a small range some would come twice, with equal values
    rows = perform(
        scenario,
        place,
        deliveries,
        seed=seed,
        folder=folder,
        is_long=True,
        rounds=None if scenario.fault is None else int(count),
        records=int(count) if scenario.fault is None else None,
    )
    # both runs meet the same losses of a broker: they are counted once
    return [
        {
            "delivery": row.delivery,
            "count": row.faults if at == 0 or not scenario.shakes_broker else 0,
            "passed": row.passed,
            "problems": list(row.problems),
            "lost": row.lost,
            "doubled": row.doubled,
            "out_of_order": row.out_of_order,
            "records": row.records,
            "seed": seed,
        }
        for at, row in enumerate(rows)
    ]


def _tested(part: Part) -> list[Slice]:
    """Run tests on a real Kafka; those that fail say why on the terminal."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", *part.tests]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout[-2000:] if done.returncode else "", end="", flush=True)
    ran = re.search(r"(\d+) passed", done.stdout)
    is_right = done.returncode == 0 and ran is not None
    return [{**_nothing("both"), "count": 1, "passed": is_right}]


def _nothing(delivery: str) -> Slice:
    return {"delivery": delivery, "lost": 0, "doubled": 0, "out_of_order": 0, "problems": []}


def _soak(place: Place, delivery: Delivery, minutes: float, folder: Path) -> list[Slice]:
    """Run a service under load for minutes; nothing may be lost, and memory may not grow."""
    cluster = place.cluster
    names = ("texts", "labels", "review", "dead")
    texts, labels, review, dead = (cluster.topic(each, partitions=_PARTITIONS) for each in names)
    settings = {
        "kafka": {"bootstrap_servers": cluster.bootstrap, "group_id": texts},
        "input": {"topic": texts},
        "output": {"labels_topic": labels, "review_topic": review, "dead_letter_topic": dead},
        "model": {"backend": "fake"},
        "routing": {"threshold": 0.01},
        "delivery": {"guarantee": delivery},
        "http": {"enabled": False},
        "logging": {"format": "json"},
    }
    config = folder / f"{texts}.yaml"
    config.write_text(yaml.safe_dump(settings))
    service = ServiceProcess(config, folder / f"{texts}.log")
    memory: list[int] = []
    try:
        wait_until(lambda: bool(service.owned()), what="it has partitions", timeout_s=120)
        with _load(cluster.bootstrap, texts) as sent:
            ends_s = time.monotonic() + minutes * 60
            while time.monotonic() < ends_s and service.is_running:
                time.sleep(min(5.0, max(minutes, 0.1)))
                memory.append(_memory(service.pid))
        ends = cluster.ends(texts)

        def committed() -> bool:
            return cluster.group_offsets(texts, texts, range(_PARTITIONS)) == ends

        wait_until(committed, what="all is committed", timeout_s=180, every_s=1)
        service.terminate()
        service.wait()
    finally:
        service.close()
    places = []
    for message in cluster.read(labels):
        source = json.loads(message.value())["source"]
        places.append((source["partition"], source["offset"]))
    of = {number: [o for p, o in places if p == number] for number in range(_PARTITIONS)}
    disorder = sum(a > b for offsets in of.values() for a, b in pairwise(offsets))
    lost, doubled = sent[0] - len(set(places)), len(places) - len(set(places))
    growth = _growth(memory) if minutes >= _LEAST_MINUTES else None
    return [
        {
            "delivery": delivery,
            "count": minutes,
            "passed": not (lost or disorder or (doubled and delivery == "exactly_once")),
            "problems": [],
            "lost": lost,
            "doubled": doubled,
            "out_of_order": disorder,
            "records": sent[0],
            "memory_growth": growth,
            "memory_bytes": memory[:: max(1, len(memory) // 60)],
        }
    ]


def _growth(memory: Sequence[int]) -> float:
    """Return the growth from after the warm-up to the end, each as a median of a tenth."""
    tenth = max(1, len(memory) // 10)
    first = int(len(memory) * _WARM)
    return statistics.median(memory[-tenth:]) / statistics.median(memory[first : first + tenth]) - 1


def _memory(pid: int) -> int:
    """Return the resident memory of a process and its workers, in bytes."""
    process = psutil.Process(pid)
    return sum(each.memory_info().rss for each in [process, *process.children(recursive=True)])


@contextmanager
def _load(bootstrap: str, topic: str) -> Iterator[list[int]]:
    """Write texts at the rate until the end; the list has how many were written."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "log_level": 0})
    stop, sent = threading.Event(), [0]

    def write() -> None:
        began_s = time.monotonic()
        while not stop.wait(0.02):
            for _ in range(int((time.monotonic() - began_s) * _RATE_S) - sent[0]):
                text = json.dumps({"text": f"text {sent[0]}"}).encode()
                producer.produce(topic, text, partition=sent[0] % _PARTITIONS)
                sent[0] += 1
            producer.poll(0)
        producer.flush(60)

    writer = threading.Thread(target=write, name="load")
    writer.start()
    try:
        yield sent
    finally:
        stop.set()
        writer.join()


def _perform(
    part: Part, place: Place, delivery: Delivery, count: float, folder: Path
) -> list[Slice]:
    if part.scenario:
        brokers = SCENARIOS[part.scenario].brokers
        if brokers == place.brokers:
            return _faults(part, place, delivery, count, folder)
        with Place.open(brokers=brokers) as larger:
            return _faults(part, larger, delivery, count, folder)
    return _tested(part) if part.tests else _soak(place, delivery, count, folder)


def _run(
    asked: argparse.Namespace, place: Place, folder: Path, *, now_s: Callable[[], float]
) -> bool:
    """Perform slices until the time is over; return whether none of them failed."""
    ends_s, passed = now_s() + asked.minutes * 60, True
    deliveries = cycle(BOTH)
    slices = _stored()
    while (part := next_part(slices, asked.only)) is not None and now_s() < ends_s:
        missing = part.target - _done(slices)[part.name]
        count = min(asked.slice or part.slice, missing)
        try:
            found = _perform(part, place, next(deliveries), count, folder)
        except (AssertionError, KafkaException, TimeoutError) as error:
            found = [{**_nothing("both"), "count": 0, "passed": False, "problems": [repr(error)]}]
        at = datetime.now(UTC).isoformat(timespec="seconds")
        for each in found:
            slices.append({"part": part.name, "at": at, **each})
            print(
                json.dumps({k: v for k, v in slices[-1].items() if k != "memory_bytes"}), flush=True
            )
        _store(slices)
        if not all(each["passed"] for each in found):
            return False  # find out why before more time is spent
    return passed


def main() -> None:
    """Continue the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no slice afterwards")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--slice", type=float, help="faults, values or minutes at a time")
    parser.add_argument("--keep", type=Path, help="folder for configurations and logs")
    parser.add_argument("--dry", action="store_true", help="print what is to do")
    asked = parser.parse_args()
    if asked.dry:
        done = _done(_stored())
        for part in PARTS.values():
            print(f"{part.name}: {done[part.name]:g} of {part.target:g}")
        return
    with tempfile.TemporaryDirectory() as scratch, Place.open() as place:
        folder = asked.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        passed = _run(asked, place, folder, now_s=time.monotonic)
    raise SystemExit(not passed)


if __name__ == "__main__":
    try:
        main()
    except KafkaMissingError as error:
        raise SystemExit(str(error)) from error
