"""Sends records at given times, independent of the service, and records when outputs appear.

The arrival time is the scheduled time, which is also the record's timestamp, so a late sender
counts as latency. The publication time is when the broker appended the output, by its clock, which
is that of this machine. Records and outputs are matched by key, or by id.
"""

import json
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, Producer

from testing.kafka_broker import Cluster

__all__ = [
    "PARTITIONS",
    "Arrival",
    "Published",
    "collect",
    "poisson",
    "quantile",
    "send",
    "waits_s",
    "warm_up",
]

_LIMIT_S = 900.0
PARTITIONS = 4
_WARM_UP_TEXTS = 64


@dataclass(frozen=True, slots=True)
class Arrival:
    """One record to send.

    Attributes:
        at_s: scheduled time, in seconds after the start.
        key: unique in a run, and copied to the outputs.
    """

    at_s: float
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Published:
    """One output: when the broker appended it (epoch seconds), and its position."""

    key: str
    at_s: float
    place: tuple[str, int]
    offset: int


def poisson(
    chosen: Sequence[str], *, per_s: float, rng: random.Random, prefix: str
) -> list[Arrival]:
    """Return these texts as a Poisson process with this rate."""
    at_s = 0.0
    arrivals = []
    for number, text in enumerate(chosen):
        at_s += rng.expovariate(per_s)
        arrivals.append(Arrival(at_s, f"{prefix}-{number}", text))
    return arrivals


def send(cluster: Cluster, topic: str, arrivals: Iterable[Arrival]) -> dict[str, float]:
    """Send each record at its scheduled time; return key -> scheduled time in epoch seconds."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "linger.ms": 0})
    due_s: dict[str, float] = {}
    began_s = time.time_ns() / 1e9
    for number, arrival in enumerate(arrivals):
        due_s[arrival.key] = began_s + arrival.at_s
        if (wait_s := due_s[arrival.key] - time.time_ns() / 1e9) > 0:
            producer.poll(0)
            time.sleep(wait_s)
        producer.produce(
            topic,
            json.dumps({"text": arrival.text, "id": arrival.key}).encode(),
            key=arrival.key.encode(),
            partition=number % PARTITIONS,
            timestamp=round(1000 * due_s[arrival.key]),
        )
        producer.poll(0)
    producer.flush()
    return due_s


def collect(reader: Consumer, count: int) -> list[Published]:
    """Return this many outputs, in the order of their partitions."""
    found: list[Published] = []
    deadline_s = time.monotonic() + _LIMIT_S
    while len(found) < count:
        if time.monotonic() > deadline_s:
            raise SystemExit(f"only {len(found)} of {count} outputs within {_LIMIT_S:g} s")
        for message in reader.consume(500, 0.2):
            if message.error() is not None:
                raise SystemExit(str(message.error()))
            place = (message.topic(), message.partition())
            # Peers that do not copy the key have the id in their output.
            key = (message.key() or b"").decode() or str(json.loads(message.value())["id"])
            found.append(Published(key, message.timestamp()[1] / 1000, place, message.offset()))
    return found


def warm_up(cluster: Cluster, topic: str, reader: Consumer, chosen: Sequence[str]) -> None:
    """Let the contender classify a few texts, and wait for the outputs."""
    few = [Arrival(0.0, f"warm-up-{n}", text) for n, text in enumerate(chosen[:_WARM_UP_TEXTS])]
    send(cluster, topic, few)
    collect(reader, len(few))


def waits_s(due_s: Mapping[str, float], published: Sequence[Published]) -> dict[str, float]:
    """Return key -> seconds from scheduled to published; every record must have one output."""
    if sorted(due_s) != sorted(output.key for output in published):
        raise SystemExit("outputs do not match the records")
    return {output.key: output.at_s - due_s[output.key] for output in published}


def quantile(values: Iterable[float], share: float) -> float:
    """Return the quantile ``share`` of the values, which is one of them."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
