"""Writes numbered records and remembers which offsets the broker acknowledged."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from testing.chaos.verifier import At, Expected, Sent

__all__ = ["GENERATION", "POISON", "Driver", "Load", "Value", "make"]

POISON = "poison!"  # what the model of a chaos run raises on
# Offsets of a topic that was created again count from here on: see ``At``.
GENERATION = 1_000_000_000

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
        keys: how many keys there are per partition, each of them again and again; 0: no keys.
    """

    rate_s: float = 300.0
    outstanding: int = 400
    shares: Mapping[str, float] | None = None
    run_length: int = 1
    keys: int = 0


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

    If a broker goes away with an acknowledgement, a record may be written and not acknowledged. So
    ``made`` says of every content what must become of it, also if it is only in the topic.

    Args:
        outcomes: how many outcomes were seen so far.
        seed: decides kinds, partitions and texts; not the timing.
        values: sent instead of made ones, in this order, then no more.

    Attributes:
        acked: records the broker has acknowledged, with offsets.
        first_offset: of the topic as it is now: it may be another one of the same name.
        failed: why it cannot go on writing; None as long as it can.
        unacknowledged: errors instead of acknowledgements; the records may be written all the same.
        made: content -> what must become of a record with it, acknowledged or not.
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
        self.first_offset = 0
        self.failed: str | None = None
        self.unacknowledged: Counter[str] = Counter()
        self.made: dict[bytes | None, Value] = {}
        self._bootstrap = bootstrap
        self._producer = self._new_producer()
        self._topic = topic
        self._partitions = partitions
        self._load = load
        self._rng = random.Random(seed)
        self._outcomes = outcomes
        self._values = values
        self._sequences = [0] * partitions
        self._run_left: dict[int, int] = {}
        self._turn = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="driver", daemon=True)

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

    # What faults use, which concern the topic that is written to.

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Write nothing meanwhile; all that was written is acknowledged."""
        with self._turn:
            self._flush()
            yield
            self._producer = self._new_producer()  # it knows of new partitions and new topics

    def add_partitions(self, count: int) -> None:
        """Write to so many partitions more; while paused."""
        self._partitions += count
        self._sequences += [0] * count

    def begin_again(self) -> None:
        """Count offsets and ids anew, of another topic of the same name; while paused."""
        self.first_offset += GENERATION

    def write_each(self, counts: Mapping[int, int]) -> None:
        """Write so many records to each partition, whatever waits; while paused."""
        self._producer = self._new_producer()
        for partition, count in counts.items():
            for _ in range(count):
                self._send(self._producer, partition, self._next(partition))
        self._flush()

    def transact(self, records: int, *, commit: bool) -> None:
        """Write records to each partition in one transaction, and end it; while paused.

        It leaves a marker behind the records, and nobody may see those of an aborted one.
        """
        producer = self._new_producer(
            {"transactional.id": f"{self._topic}-driver", "message.timeout.ms": 30_000}
        )
        producer.init_transactions(30)
        producer.begin_transaction()
        for partition in range(self._partitions):
            for _ in range(records):
                value = self._next(partition)
                self._send(producer, partition, value, counts=commit)
        producer.flush(_FLUSH_S)
        if commit:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)

    def _new_producer(self, more: Mapping[str, str | int] | None = None) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.timeout.ms": 300_000,
                "message.max.bytes": 5_000_000,
                "log_level": 0,
                **(more or {}),
            }
        )

    def _flush(self) -> None:
        left = self._producer.flush(_FLUSH_S)
        if left:
            self.failed = f"{left} records were not acknowledged"

    def _run(self) -> None:
        try:
            self._write()
        except (KafkaException, BufferError) as error:  # else the thread would end unseen
            self.failed = repr(error)

    def _write(self) -> None:
        began_s = time.monotonic()
        written = 0
        while not self._stopping.is_set():
            with self._turn:
                due = int((time.monotonic() - began_s) * self._load.rate_s) - written
                room = self._load.outstanding - (len(self.acked) - self._outcomes())
                room -= len(self._producer)
                for _ in range(max(0, min(due, room))):
                    if not self._write_one():
                        self._stopping.set()
                        break
                    written += 1
                self._producer.poll(0)  # not while paused: two threads in one client may crash
            if room <= 0:  # time spent waiting for room is not made up for later
                began_s = time.monotonic() - written / self._load.rate_s
            self._stopping.wait(_PACE_S)
        with self._turn:
            self._flush()

    def _write_one(self) -> bool:
        partition = self._rng.randrange(self._partitions)
        if self._values is None:
            value = self._next(partition)
        elif self._values:
            value = self._values.pop(0)
        else:
            return False
        self._send(self._producer, partition, value)
        return True

    def _send(
        self, producer: Producer, partition: int, value: Value, *, counts: bool = True
    ) -> None:
        first_offset = self.first_offset
        key = self._key(partition)
        if counts:
            self.made[value.content] = value

        def acknowledged(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self.unacknowledged[str(error)] += 1
            elif counts:
                at = At(message.partition(), first_offset + message.offset())
                self.acked.append(Sent(at, value.expected, value.id, key))

        def produce(producer: Producer) -> None:
            producer.produce(
                self._topic,
                value=value.content,
                key=key,
                partition=partition,
                on_delivery=acknowledged,
            )

        try:
            produce(producer)
        except KafkaException as error:
            if producer is not self._producer or not error.args[0].fatal():
                raise
            # Its sequence has a gap, as after a broker has lost its last acknowledgements.
            producer.poll(0)
            self._producer = self._new_producer()
            produce(self._producer)

    def _key(self, partition: int) -> str | None:
        if not self._load.keys:
            return None
        return f"{partition}/{self._rng.randrange(self._load.keys)}"

    def _next(self, partition: int) -> Value:
        self._sequences[partition] += 1
        number = f"{partition}:{self._sequences[partition]}"
        if self.first_offset:  # which topic of the name it was sent to: see ``observer``
            number = f"g{self.first_offset // GENERATION}/{number}"
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
