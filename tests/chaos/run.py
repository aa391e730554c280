"""One chaos run: service processes under load, seen and struck from outside."""

import contextlib
import itertools
import json
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from tests.chaos.driver import POISON, Driver, Load, Value
from tests.chaos.observer import Observer, read_outcomes
from tests.chaos.place import Place, Way
from tests.chaos.processes import RUN, ServiceProcess
from tests.chaos.verifier import At, Verdict, Window, judge
from tests.kafka_broker import wait_until

__all__ = ["AT_WORK_S", "PARTITIONS", "Delivery", "Run", "Setup"]

Delivery = Literal["exactly_once", "at_least_once"]

PARTITIONS = 4
AT_WORK_S = 90.0  # joining after a kill takes a session timeout; machines may be slow
_FRESH_S = 2.0
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
        settings: over those of every run; one level of sections.
        values: sent instead of a made load.
        patience_s: an outcome that takes longer is missing.
        command: what is run; a wrong service is a negative control.
    """

    processes: int = 2
    way: Way = "straight"
    load: Load = field(default_factory=Load)
    settings: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    values: Sequence[Value] | None = None
    patience_s: float = 120.0
    command: Sequence[str] = RUN


class Run:
    """A driver, services and an observer on topics of their own.

    Attributes:
        rng: decides moments and victims.
        services: alive or not, in the order of their start.
        windows: what was in flight at each fault; see ``Window``.
        in_flight: at each fault, records acknowledged and without outcome.
        recoveries_s: per fault, from its end until what was in flight then had its outcome.
        met_work: whether the latest fault struck while work was in flight where it struck.
        has_failed: it did not recover; nothing more is to be learned.
        problems: what went wrong besides the verdict.
    """

    def __init__(
        self, place: Place, delivery: Delivery, setup: Setup, *, name: str, seed: int, folder: Path
    ) -> None:
        self.place = place
        self.delivery = delivery
        self.setup = setup
        self.seed = seed
        self.rng = random.Random(f"{name} {delivery} {seed}")
        self.topics = place.topics(name, PARTITIONS)
        self.services: list[ServiceProcess] = []
        self.windows: list[Window] = []
        self.in_flight: list[int] = []
        self.recoveries_s: list[float] = []
        self.met_work = False
        self.has_failed = False
        self.problems: list[str] = []
        self._folder = folder / self.topics.texts
        self._folder.mkdir(parents=True)
        self._config = self._folder / "service.yaml"
        self._config.write_text(json.dumps(self._settings()))  # JSON is YAML
        bootstrap = place.cluster.bootstrap
        self.observer = Observer(bootstrap, self.topics.outputs)
        self.driver = Driver(
            bootstrap,
            self.topics.texts,
            partitions=PARTITIONS,
            load=setup.load,
            seed=seed,
            outcomes=lambda: len(self.observer.seen),
            values=None if setup.values is None else list(setup.values),
        )

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, dict[str, Any]] = {
            section: {**values, **self.setup.settings.get(section, {})}
            for section in _SETTINGS | self.setup.settings
            for values in [_SETTINGS.get(section, {})]
        }
        settings["kafka"] |= self.place.connection(self.setup.way)
        settings["kafka"]["group_id"] = self.topics.texts
        settings["input"] = {"topic": self.topics.texts}
        settings["output"] = {
            "labels_topic": self.topics.labels,
            "review_topic": self.topics.review,
            "dead_letter_topic": self.topics.dead,
        }
        settings["delivery"]["guarantee"] = self.delivery
        return settings

    def __enter__(self) -> Self:
        self.observer.start()
        for _ in range(self.setup.processes):
            self.start_service()
        self.driver.start()
        return self

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
        return all(owned) and sorted(itertools.chain(*owned)) == list(range(PARTITIONS))

    def victim(self) -> ServiceProcess:
        """A member, chosen by the seed."""
        victim = self.rng.choice(self.members())
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
        seen = self.observer.seen
        return [record.at for record in list(self.driver.acked) if record.at not in seen]

    def is_at_work(self, partitions: Iterable[int] = range(PARTITIONS)) -> bool:
        """Whether a fault now would meet work: outcomes just came, and more is under way."""
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
        topic = self.topics.texts
        wanted = ConsumerGroupTopicPartitions(
            topic, [TopicPartition(topic, number) for number in range(PARTITIONS)]
        )
        admin = self.place.cluster.admin()
        [future] = admin.list_consumer_group_offsets([wanted]).values()
        found = future.result(30).topic_partitions
        return {each.partition: max(0, each.offset) for each in found}

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
        return self.has_failed or self.observer.count > len(self.observer.seen)

    def wait_recovered(self, places: Sequence[At], since_s: float) -> None:
        """Wait until all of ``places`` have an outcome; note how long it took."""
        done_s = self.observer.wait_for(places, timeout_s=self.setup.patience_s)
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

    def finish(self) -> Verdict:
        """Let everything come to an end, read all topics from the start, and judge."""
        self.driver.stop()
        if (
            self.observer.wait_for(
                [r.at for r in self.driver.acked], timeout_s=self.setup.patience_s
            )
            is None
        ):
            self.problems.append(f"{len(self.waiting())} records had no outcome in time")
        last = self.running()
        # A process that is still importing has no signal handlers yet and would die of SIGTERM.
        with contextlib.suppress(TimeoutError):
            wait_until(self.all_joined, what="all are members", timeout_s=AT_WORK_S)
        for service in last:
            service.terminate()
        for service in last:
            self._expect_drained(service)
        outcomes = read_outcomes(self.place.cluster, self.topics.outputs)
        unread = self.observer.seen.keys() - {outcome.source for outcome in outcomes}
        if unread:
            self.problems.append(f"{len(unread)} outcomes were read and then were not there")
        return judge(self.driver.acked, outcomes, committed=self.committed(), windows=self.windows)

    def _expect_drained(self, service: ServiceProcess) -> None:
        try:
            code = service.wait()
            service.wait_workers_gone()
        except TimeoutError as error:
            self.problems.append(str(error))
        else:
            if code:
                self.problems.append(f"exit code {code} at the end")
