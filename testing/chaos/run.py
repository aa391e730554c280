"""One chaos run: service processes under load, seen and struck from outside."""

import contextlib
import itertools
import json
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from testing.chaos.driver import POISON, Driver, Load, Value
from testing.chaos.observer import Observer, read_outcomes
from testing.chaos.place import COMPACTED, Place, Way
from testing.chaos.processes import RUN, ServiceProcess
from testing.chaos.verifier import (
    At,
    Findings,
    Outcome,
    Sent,
    Window,
    all_sent,
    judge_tasks,
    outdated,
)
from testing.kafka_broker import wait_until

__all__ = ["AT_WORK_S", "PARTITIONS", "Delivery", "Run", "Setup"]

Delivery = Literal["exactly_once", "at_least_once"]

PARTITIONS = 4
AT_WORK_S = 90.0  # joining after a kill takes a session timeout; machines may be slow
_FRESH_S = 2.0
_BUSY_WITHIN_S = 10.0
_SAID_WITHIN_S = 5.0

# Small, so that a run is short: a process that dies is missed after six seconds.
_SETTINGS: dict[str, Mapping[str, Any]] = {
    "kafka": {
        "session_timeout_ms": 6000,
        "heartbeat_interval_ms": 1000,
        "request_timeout_ms": 8000,
    },
    "batching": {"max_batch_items": 32, "max_in_flight_items": 200},
    "delivery": {
        "commit_interval_s": 0.5,
        "revoke_timeout_s": 5.0,
        "transaction_timeout_ms": 10_000,
    },
    "guard": {"max_consecutive": 0, "max_ratio": 1},
    "worker": {
        "batch_timeout_s": 3.0,
        "max_restarts": 1000,
        "restart_window_s": 2.0,
        "restart_backoff_s": 0.1,
    },
    "model": {"backend": "fake", "fail_on": POISON, "batch_s": 0.1},
    "http": {"enabled": False},
    "logging": {"format": "json"},
}


@dataclass(frozen=True, slots=True)
class Setup:
    """What a run needs besides a place.

    Attributes:
        processes: services at the start.
        earlier: records in each partition from before the group: it begins behind them.
        compacts: the labels topic keeps the last outcome of each key only.
        settings: over those of every run; one level of sections.
        cascade: its stages instead of a model.
        values: sent instead of a made load.
        patience_s: an outcome that takes longer is missing.
        command: what is run; a wrong service is a negative control.
    """

    processes: int = 2
    earlier: int = 0
    compacts: bool = False
    way: Way = "straight"
    load: Load = field(default_factory=Load)
    settings: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    cascade: Sequence[Mapping[str, Any]] = ()
    values: Sequence[Value] | None = None
    patience_s: float = 120.0
    command: Sequence[str] = RUN


class Run:
    """A driver, services and an observer on topics of their own.

    Attributes:
        rng: decides moments and victims.
        partitions: of the input, as they are now.
        services: alive or not, in the order of their start.
        windows: what was in flight at each fault; see ``Window``.
        in_flight: at each fault, records acknowledged and without outcome.
        excused: records that were deleted before they had an outcome.
        recoveries_s: per fault, from its end until what was in flight then had its outcome.
        met_work: whether the latest fault struck while work was in flight where it struck.
        has_failed: it did not recover; nothing more is to be learned.
        problems: what went wrong besides the verdict.
        outcomes: all that were found at the end.
    """

    def __init__(
        self, place: Place, delivery: Delivery, setup: Setup, *, name: str, seed: int, folder: Path
    ) -> None:
        self.place = place
        self.delivery = delivery
        self.setup = setup
        self.seed = seed
        self.rng = random.Random(f"{name} {delivery} {seed}")
        self.partitions = PARTITIONS
        self.topics = place.topics(name, PARTITIONS, labels=COMPACTED if setup.compacts else {})
        self.services: list[ServiceProcess] = []
        self.windows: list[Window] = []
        self.in_flight: list[int] = []
        self.excused: set[At] = set()
        self.recoveries_s: list[float] = []
        self.met_work = False
        self.has_failed = False
        self.problems: list[str] = []
        self.outcomes: Sequence[Outcome] = ()
        self._folder = folder / self.topics.texts
        self._folder.mkdir(parents=True)
        self._config = self._folder / "service.yaml"
        self._config.write_text(json.dumps(self._settings()))  # JSON is YAML
        bootstrap = place.cluster.bootstrap
        self.tasks = tuple(setup.settings.get("tasks", ()))
        self.observer = Observer(bootstrap, self.topics.outputs, self.tasks)
        self.driver = Driver(
            bootstrap,
            self.topics.texts,
            partitions=PARTITIONS,
            load=setup.load,
            seed=seed,
            outcomes=self._outcomes,
            values=None if setup.values is None else list(setup.values),
        )

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            section: {**values, **self.setup.settings.get(section, {})}
            for section in _SETTINGS | self.setup.settings
            for values in [_SETTINGS.get(section, {})]
        }
        if self.setup.cascade:
            settings["cascade"] = self.setup.cascade
        settings["kafka"] |= self.place.connection(self.setup.way)
        settings["kafka"] |= {"group_id": self.topics.texts, "client_id": self.topics.texts}
        settings["input"] = {**settings.get("input", {}), "topic": self.topics.texts}
        settings["output"] = {
            "labels_topic": self.topics.labels,
            "review_topic": self.topics.review,
            "dead_letter_topic": self.topics.dead,
        }
        settings["delivery"]["guarantee"] = self.delivery
        if "tasks" in settings or "cascade" in settings:
            del settings["model"]
        return settings

    def __enter__(self) -> Self:
        self.observer.start()
        for partition in range(self.partitions if self.setup.earlier else 0):
            earlier = [b'{"text": "from before the group"}'] * self.setup.earlier
            self.place.cluster.produce(self.topics.texts, [*earlier], partition=partition)
        for _ in range(self.setup.processes):
            self.start_service()
        if self.setup.earlier:
            wait_until(
                lambda: set(self.committed().values()) == {self.setup.earlier},
                what="the group begins",
                timeout_s=AT_WORK_S,
            )
        self.driver.start()
        return self

    def _outcomes(self) -> int:
        return len(self.observer.seen) + sum(at not in self.observer.seen for at in self.excused)

    def __exit__(self, *_: object) -> None:
        for service in self.services:
            service.close()
            self.place.reaper.forget(service.pid)
        with contextlib.suppress(TimeoutError):
            self.driver.stop()
        self.observer.stop()

    # What faults use.

    def start_service(self) -> ServiceProcess:
        """Start one more process."""
        for service in self.services:
            if not service.is_running:
                self.place.reaper.forget(service.pid)
        log = self._folder / f"service{len(self.services)}.log"
        service = ServiceProcess(self._config, log, command=self.setup.command)
        self.place.reaper.watch(service.pid)
        self.services.append(service)
        return service

    def running(self) -> list[ServiceProcess]:
        """Processes that have not ended."""
        return [service for service in self.services if service.is_running]

    def members(self) -> list[ServiceProcess]:
        """Processes that have joined the group and own partitions."""
        return [each for each in self.running() if each.owned()]

    def all_joined(self) -> bool:
        """Whether every process that runs owns partitions, and every partition has one owner.

        A process that was stopped believes in its old partitions until it has been told.
        """
        owned = [each.owned() for each in self.running()]
        return all(owned) and sorted(itertools.chain(*owned)) == list(range(self.partitions))

    def victim(self) -> ServiceProcess:
        """A member, chosen by the seed among those at work; among all if none is for a while."""

        def busy() -> list[ServiceProcess]:
            return [each for each in self.members() if self.is_at_work(each.owned())]

        with contextlib.suppress(TimeoutError):
            wait_until(lambda: bool(busy()), what="a member is at work", timeout_s=_BUSY_WITHIN_S)
        victim = self.rng.choice(busy() or self.members())
        self.met_work = self.is_at_work(victim.owned())
        return victim

    def said(self, *events: str) -> int:
        """How often the logs of all processes name one of the events."""
        return sum(service.said(event) for service in self.services for event in events)

    def says_more(self, events: Sequence[str], before: int) -> bool:
        """Whether one of the events is logged more often than before, now or soon."""
        try:
            wait_until(
                lambda: self.said(*events) > before, what=str(events), timeout_s=_SAID_WITHIN_S
            )
        except TimeoutError:
            return False
        return True

    def waiting(self) -> list[At]:
        """Acknowledged records without outcome: in flight, or about to be."""
        seen, excused = self.observer.seen, self.excused
        acked = [record.at for record in list(self.driver.acked)]
        return [at for at in acked if at not in seen and at not in excused]

    def is_at_work(self, partitions: Iterable[int] | None = None) -> bool:
        """Whether a fault now would meet work: outcomes just came, and more is under way."""
        if partitions is None:
            partitions = range(self.partitions)
        busy = {at.partition for at in self.waiting()}
        now_s, last_s = time.monotonic(), self.observer.last_s
        return any(each in busy and now_s - last_s.get(each, 0) < _FRESH_S for each in partitions)

    def is_ready(self) -> bool:
        """Whether all processes that run are members and work is under way."""
        if not self.running():
            raise AssertionError(f"no process is left: {self.exit_codes()}")
        return self.all_joined() and self.is_at_work()

    def wait_until_sent(self, records: int) -> None:
        """Wait until so many records were acknowledged, or all that there are."""
        enough_s = 60.0 + records / 20

        def sent() -> bool:
            return self.driver.is_done or len(self.driver.acked) >= records

        wait_until(sent, what=f"{records} records were sent", timeout_s=enough_s)

    def committed(self) -> dict[int, int]:
        """The group's next offset per partition."""
        texts, first = self.topics.texts, self.driver.first_offset
        found = self.place.cluster.group_offsets(texts, texts, range(self.partitions))
        return {number: first + (offset or 0) for number, offset in found.items()}

    def lag(self) -> int:
        """How many offsets the group has not committed, those without records included."""
        ends, first = self.place.cluster.ends(self.topics.texts), self.driver.first_offset
        return sum(first + ends[number] - offset for number, offset in self.committed().items())

    def note_window(self) -> None:
        """Remember what was written and not committed; right after a fault."""
        if self.delivery == "exactly_once":
            return
        committed = self.committed()
        self.observer.catch_up()
        written = self.observer.written()
        self.windows.append(Window({p: (committed[p], written.get(p, 0)) for p in committed}))

    def is_damaged(self) -> bool:
        """Whether something is known to be doubled or missing already."""
        return self.has_failed or len(self.observer.outcomes) > len(self.observer.seen)

    def wait_recovered(self, places: Sequence[At], since_s: float) -> None:
        """Wait until all of ``places`` have an outcome; note how long it took."""
        due = [at for at in places if at not in self.excused]
        done_s = self.observer.wait_for(due, timeout_s=self.setup.patience_s)
        if done_s is None:
            errors = dict(self.observer.errors)
            self.problems.append(
                f"no recovery within {self.setup.patience_s:g} s; errors of the reader: {errors}"
            )
            self.has_failed = True
            return
        self.recoveries_s.append(max(0.0, done_s - since_s))

    def exit_codes(self) -> list[int | None]:
        """Of all processes, in the order of their start."""
        return [service.exit_code for service in self.services]

    # The end.

    def finish(self) -> Findings:
        """Let everything come to an end, read all topics from the start, and judge."""
        self.driver.stop()
        sent = all_sent(self.driver.acked, self._there())
        due = [record.at for record in sent if record.at not in self.excused]
        if self.observer.wait_for(due, timeout_s=self.setup.patience_s) is None:
            left = sum(at not in self.observer.seen for at in due)
            self.problems.append(f"{left} records had no outcome in time")
        last = self.running()
        # A process that is still importing has no signal handlers yet and would die of SIGTERM.
        with contextlib.suppress(TimeoutError):
            wait_until(self.all_joined, what="all are members", timeout_s=AT_WORK_S)
        for service in last:
            service.terminate()
        for service in last:
            self._expect_drained(service)
        outcomes = self.outcomes = self._read_outcomes(sent)
        unread = self.observer.seen.keys() - {outcome.source for outcome in outcomes}
        if unread:
            self.problems.append(f"{len(unread)} outcomes were read and then were not there")
        return judge_tasks(
            self.tasks,
            sent,
            outcomes,
            committed=self.committed(),
            windows=self.windows,
            excused=self.excused,
        )

    def _there(self) -> Iterator[Sent]:
        """Yield what the driver has made of what is in the input topic."""
        for message in self.place.cluster.read(self.topics.texts):
            value = self.driver.made.get(message.value())
            if value is not None:
                at = At(message.partition(), self.driver.first_offset + message.offset())
                key = None if (found := message.key()) is None else found.decode()
                yield Sent(at, value.expected, value.id, key)

    def _read_outcomes(self, sent: Sequence[Sent]) -> Sequence[Outcome]:
        outcomes = read_outcomes(self.place.cluster, self.topics.outputs)
        if not self.setup.compacts:
            return outcomes
        kept = [outcome for outcome in outcomes if outcome.topic == self.topics.labels]
        if wrong := outdated(sent, kept):
            self.problems.append(f"outdated: {len(wrong)} keys, for example {wrong[:5]}")
        return self.observer.outcomes  # which it read before compaction took them

    def _expect_drained(self, service: ServiceProcess) -> None:
        try:
            code = service.wait()
            service.wait_workers_gone()
        except TimeoutError as error:
            self.problems.append(str(error))
        else:
            if code:
                self.problems.append(f"exit code {code} at the end")
