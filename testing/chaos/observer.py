"""Reads the output topics while the faults happen, as a consumer of a user would."""

import json
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence

from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from testing.chaos.driver import GENERATION
from testing.chaos.verifier import At, Outcome
from testing.kafka_broker import Cluster, wait_until

__all__ = ["Observer", "outcome_of", "read_outcomes"]

_PATIENCE_S = 60.0
_OF_A_LATER_TOPIC = re.compile(r"g(\d+)/\d+:\d+")


def outcome_of(message: Message) -> Outcome:
    """Return whose outcome a record of an output topic is."""
    headers = dict(message.headers() or [])
    place = {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}
    place["key"] = None if (key := message.key()) is None else key.decode(errors="replace")
    task = headers.get("streamlabel-task")
    place["task"] = None if task is None else task.decode()
    if "streamlabel-error-reason" in headers:
        partition = int(headers["streamlabel-source-partition"])
        at = At(partition, int(headers["streamlabel-source-offset"]))
        return Outcome(at, **place, is_dead=True)
    content = json.loads(message.value())
    source = content["source"]
    later = _OF_A_LATER_TOPIC.fullmatch(str(content["id"]))  # an id may be any JSON
    first_offset = GENERATION * int(later[1]) if later else 0
    at = At(source["partition"], first_offset + source["offset"])
    return Outcome(at, **place, id=content["id"])


def read_outcomes(cluster: Cluster, topics: Sequence[str]) -> list[Outcome]:
    """Return all outcomes, read from the start by a fresh reader of committed records."""
    return [outcome_of(message) for topic in topics for message in cluster.read(topic)]


class Observer:
    """A reader of committed records in a thread.

    Args:
        bootstrap: the brokers.
        topics: of the outputs.
        tasks: of the service; empty: it has only one.

    Attributes:
        seen: source -> monotonic seconds at which its first outcome was read, of each task.
        outcomes: all that were read, repetitions included.
        size_bytes: of their values.
        errors: what the client reported, by name.
        last_s: input partition -> when its last outcome was read.
    """

    def __init__(self, bootstrap: str, topics: Sequence[str], tasks: Sequence[str] = ()) -> None:
        self._tasks = frozenset(tasks)
        self._tasks_seen: defaultdict[At, set[str | None]] = defaultdict(set)
        self.seen: dict[At, float] = {}
        self.outcomes: list[Outcome] = []
        self.size_bytes = 0
        self.errors: Counter[str] = Counter()
        self.last_s: dict[int, float] = {}
        self._bootstrap = bootstrap
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"observer-{topics[0]}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 50,
                "auto.offset.reset": "earliest",  # reading twice does no harm, skipping does
                "log_level": 0,
            }
        )
        self._places = [
            TopicPartition(topic, number, 0)
            for topic in topics
            for number in self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        ]
        self._consumer.assign(self._places)
        self._read_to: dict[tuple[str, int], int] = {}
        self._written: dict[int, int] = {}  # input partition -> behind its newest outcome
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, name="observer", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._stopping.set()
        self._thread.join(30)
        self._consumer.close()

    def written(self) -> dict[int, int]:
        """Return, per input partition, the offset behind the newest outcome read."""
        return dict(self._written)

    def catch_up(self) -> None:
        """Return when all that stands in the topics now was read.

        For at least once: behind a transaction stands a marker that is never read.
        """
        admin = AdminClient({"bootstrap.servers": self._bootstrap, "log_level": 0})
        latest = {place: OffsetSpec.latest() for place in self._places}
        ends = {
            (place.topic, place.partition): future.result(30).offset
            for place, future in admin.list_offsets(latest).items()
        }

        # Not the consumer's own positions: two threads on one consumer starve each other.
        def caught_up() -> bool:
            return all(self._read_to.get(place, 0) >= end for place, end in ends.items())

        wait_until(caught_up, what="all outcomes are read", every_s=0.02)

    def wait_for(self, places: Sequence[At], *, timeout_s: float = _PATIENCE_S) -> float | None:
        """Return when the last of ``places`` got its outcome; None if one did not in time."""
        deadline_s = time.monotonic() + timeout_s
        left = list(places)
        while time.monotonic() < deadline_s:
            left = [at for at in left if at not in self.seen]
            if not left:
                return max((self.seen[at] for at in places), default=time.monotonic())
            time.sleep(0.05)
        return None

    def _read(self) -> None:
        while not self._stopping.is_set():
            for message in self._consumer.consume(500, 0.1):
                error = message.error()
                if error is None:
                    self.size_bytes += len(message.value() or b"")
                    self._note(outcome_of(message))
                else:
                    self.errors[error.name()] += 1  # the client reconnects by itself

    def _note(self, outcome: Outcome) -> None:
        now_s = time.monotonic()
        at = outcome.source
        self._read_to[outcome.topic, outcome.partition] = outcome.offset + 1
        self.outcomes.append(outcome)
        self.last_s[at.partition] = now_s
        self._tasks_seen[at].add(outcome.task)
        if outcome.task is None or self._tasks_seen[at] >= self._tasks:
            self.seen.setdefault(at, now_s)
        self._written[at.partition] = max(self._written.get(at.partition, 0), at.offset + 1)
