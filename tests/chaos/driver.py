"""Writes numbered records and remembers which offsets the broker acknowledged."""

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError, Message, Producer

from tests.chaos.verifier import At, Expected, Sent

__all__ = ["POISON", "Driver", "Load", "Value", "make"]

POISON = "poison!"  # what the model of a chaos run raises on

_FLUSH_S = 120.0
_PACE_S = 0.01
_WORDS = ("one", "two", "river", "stone", "late", "bright", "open", "seven", "quiet", "market")


@dataclass(frozen=True, slots=True)
class Value:
    """The value of an input record and what must become of it."""

    content: bytes | None
    expected: Expected
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """How much of what is written.

    Attributes:
        rate_s: records a second, at most.
        outstanding: records acknowledged and without outcome at which writing waits: a backlog
            that keeps every process at work without growing for ever.
        shares: kind -> share; kinds are those of ``make``; the rest is plain text.
        run_length: poison comes in runs of this length, the share holds on average.
    """

    rate_s: float = 300.0
    outstanding: int = 400
    shares: Mapping[str, float] | None = None
    run_length: int = 1


def make(kind: str, number: str, rng: random.Random) -> Value:
    """Return a record of a kind; ``number`` is ``partition:sequence`` and becomes its id."""
    words = " ".join(rng.choices(_WORDS, k=rng.randint(1, 30)))
    wide = {"id": number, "text": words, "metadata": {"wide": "w" * 6000}}
    makers: dict[str, Callable[[], Value]] = {
        "text": lambda: Value(_json(number, f"{number} {words}"), "result", number),
        "oversize": lambda: Value(_json(number, f"{number} {words * 2000}"), "result", number),
        "poison": lambda: Value(_json(number, f"{number} {words} {POISON}"), "dead_letter"),
        "blank": lambda: Value(_json(number, "  \u200b "), "dead_letter"),
        "null": lambda: Value(None, "dead_letter"),
        "invalid": lambda: Value(number.encode() + rng.randbytes(20) + b"\xff", "dead_letter"),
        # its metadata travels: the output may be larger than what the topic takes
        "wide": lambda: Value(json.dumps(wide).encode(), "any"),
    }
    return makers[kind]()


def _json(number: str, text: str) -> bytes:
    return json.dumps({"id": number, "text": text}).encode()


class Driver:
    """A producer in a thread: idempotent, so that the broker holds each record once.

    Args:
        outcomes: how many outcomes were seen so far.
        seed: decides kinds, partitions and texts; not the timing.
        values: sent instead of made ones, in this order, then no more.

    Attributes:
        acked: records the broker has acknowledged, with offsets.
        failed: why a record could not be written; None as long as all can.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        *,
        partitions: int,
        load: Load,
        seed: int,
        outcomes: Callable[[], int],
        values: list[Value] | None = None,
    ) -> None:
        self.acked: list[Sent] = []
        self.failed: str | None = None
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.timeout.ms": 300_000,
                "message.max.bytes": 5_000_000,
                "log_level": 0,
            }
        )
        self._topic = topic
        self._partitions = partitions
        self._load = load
        self._rng = random.Random(seed)
        self._outcomes = outcomes
        self._values = values
        self._sequences = [0] * partitions
        self._run_left: dict[int, int] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write, name="driver", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Nothing more is written."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Write no more; return when all is acknowledged."""
        self._stopping.set()
        self._thread.join(_FLUSH_S + 10)
        if self.failed is not None or self._thread.is_alive():
            raise TimeoutError(f"the driver could not write everything: {self.failed}")

    def _write(self) -> None:
        began_s = time.monotonic()
        written = 0
        while not self._stopping.is_set():
            due = int((time.monotonic() - began_s) * self._load.rate_s) - written
            room = self._load.outstanding - (written - self._outcomes())
            for _ in range(max(0, min(due, room))):
                if not self._write_one():
                    self._stopping.set()
                    break
                written += 1
            if room <= 0:  # time spent waiting for room is not made up for later
                began_s = time.monotonic() - written / self._load.rate_s
            self._producer.poll(_PACE_S)
        left = self._producer.flush(_FLUSH_S)
        if left:
            self.failed = f"{left} records were not acknowledged"

    def _write_one(self) -> bool:
        partition = self._rng.randrange(self._partitions)
        if self._values is None:
            value = self._next(partition)
        elif self._values:
            value = self._values.pop(0)
        else:
            return False

        def acknowledged(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self.failed = str(error)
            else:
                at = At(message.partition(), message.offset())
                self.acked.append(Sent(at, value.expected, value.id))

        self._producer.produce(
            self._topic, value=value.content, partition=partition, on_delivery=acknowledged
        )
        return True

    def _next(self, partition: int) -> Value:
        self._sequences[partition] += 1
        number = f"{partition}:{self._sequences[partition]}"
        if self._run_left.get(partition, 0) > 0:
            self._run_left[partition] -= 1
            return make("poison", number, self._rng)
        point = self._rng.random()
        for kind, share in (self._load.shares or {}).items():
            length = self._load.run_length if kind == "poison" else 1
            point -= share / length
            if point < 0:
                if kind == "poison":
                    self._run_left[partition] = length - 1
                return make(kind, number, self._rng)
        return make("text", number, self._rng)
