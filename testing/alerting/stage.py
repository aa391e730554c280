"""What a story of alerts needs: services with settings, texts that come in, and the attempts."""

import itertools
import json
import os
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import yaml
from confluent_kafka import KafkaException, Producer

from testing.alerting.prometheus import Prometheus, free_port
from testing.chaos.processes import RUN, ServiceProcess
from testing.kafka_broker import Cluster, wait_until

__all__ = [
    "Attempt",
    "Feeder",
    "Service",
    "Stage",
    "all_fire",
    "all_resolve",
    "is_sure",
    "label_of",
    "text_value",
    "texts",
]

# Of the model ``fake``: its answers, whose confidence rises with their number.
_ANSWERS: Final = 1021
_EVERY_S: Final = 0.25

Value = bytes | None


def texts(*, sure: bool | None = True, length: int = 0) -> Iterator[str]:
    """Yield different texts of which the model ``fake`` is sure, is not, or (None) either.

    Above 0.6 it is sure: set a threshold of 0.6. ``length`` in characters, at least.
    """
    for number in itertools.count():
        text = f"text {number} {os.urandom(4).hex()} ".ljust(length, "x")
        if sure is None or is_sure(text) == sure:
            yield text


def is_sure(text: str, *, above: float = 0.6) -> bool:
    """Whether the model ``fake`` gives a text a confidence above this, with three labels."""
    number = crc32(text.encode()) % _ANSWERS
    return 1 / 3 + 2 / 3 * (number + 1) / (_ANSWERS + 1) > above


def label_of(text: str) -> str:
    """Return the label that the model ``fake`` gives a text, of its usual three."""
    return "abc"[crc32(text.encode()) % _ANSWERS % 3]


def text_value(text: str) -> bytes:
    """Return a text as the value of a record."""
    return json.dumps({"text": text}).encode()


@dataclass
class Attempt:
    """One alert that is to fire and to be resolved.

    Attributes:
        alert: its name.
        fault: what was done to the service, in words.
        remedy: what was done then, as the runbook says.
        fired_s: from the fault until Prometheus showed that it fires; None: it did not.
        resolved_s: from the remedy until it showed that no longer; None: it did not.
        problem: what went wrong.
        is_over: nothing more will become of it.
    """

    alert: str
    fault: str
    remedy: str
    fired_s: float | None = None
    resolved_s: float | None = None
    problem: str = ""
    is_over: bool = False
    _claim: Callable[[], bool] = lambda: False
    _patience: float = 1.0
    _is_mended: bool = False
    _since_s: float = field(default_factory=time.monotonic)

    def look(self) -> None:
        """Note whether it fires now for the first time, or no longer."""
        is_firing = self._claim()
        if self.fired_s is None and is_firing:
            self.fired_s = time.monotonic() - self._since_s
        elif self.fired_s is not None and self._is_mended and not is_firing:
            self.resolved_s = time.monotonic() - self._since_s

    def fires(self, *, within_s: float = 120.0) -> None:
        """Wait until it fires; time counts from ``now``. The remedy begins when this returns."""
        all_fire(self, within_s=within_s)

    def resolves(self, *, within_s: float = 180.0) -> None:
        """Wait until it no longer fires; time counts from the remedy, or ``now``."""
        all_resolve(self, within_s=within_s)

    def now(self) -> None:
        """The fault begins now, or the remedy."""
        self._since_s = time.monotonic()


def all_fire(*attempts: Attempt, within_s: float) -> None:
    """Wait until each of them has fired; the remedy of all begins then."""
    _look(attempts, lambda each: each.fired_s is not None, within_s, "fires")
    for each in attempts:
        each.now()
        each._is_mended = True  # noqa: SLF001 its own module


def all_resolve(*attempts: Attempt, within_s: float) -> None:
    """Wait until each of them is resolved."""
    _look(attempts, lambda each: each.resolved_s is not None, within_s, "is resolved")


def _look(
    attempts: Sequence[Attempt], is_done: Callable[[Attempt], bool], within_s: float, what: str
) -> None:
    def claim() -> bool:
        waiting = [each for each in attempts if not is_done(each)]
        for each in waiting:
            each.look()
        return all(map(is_done, waiting))

    patience = attempts[0]._patience  # noqa: SLF001 its own module
    names = ", ".join(each.alert for each in attempts)
    wait_until(claim, what=f"{names} {what}", timeout_s=within_s * patience, every_s=_EVERY_S)


class Feeder:
    """Writes texts to a topic at a rate, in a thread; what is written can be changed meanwhile.

    Attributes:
        rate_s: records a second.
        values: the next values; any iterator without end.
        ahead_s: of the time of a record: how far it is in the future.
        written: number of records.
    """

    def __init__(self, bootstrap: str, topic: str, *, partitions: int, rate_s: float) -> None:
        self.rate_s = rate_s
        self.values: Iterator[Value] = map(text_value, texts())
        self.ahead_s = 0.0
        self.written = 0
        self._topic = topic
        self._partitions = partitions
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "log_level": 0, "message.max.bytes": 5_000_000}
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Write no more."""
        self._stopping.set()
        self._thread.join(60)

    def write(self, count: int) -> None:
        """Write so many at once, before the start, or while the rate is 0."""
        for _ in range(count):
            self._write_one()
        self._producer.flush(60)

    def _run(self) -> None:
        due, last_s = 0.0, time.monotonic()
        while not self._stopping.wait(0.05):
            now_s = time.monotonic()
            due += min(1.0, now_s - last_s) * self.rate_s
            last_s = now_s
            while due >= 1:
                self._write_one()
                due -= 1
            self._producer.poll(0)
        self._producer.flush(10)

    def _write_one(self) -> None:
        try:
            self._producer.produce(
                self._topic,
                value=next(self.values),
                partition=self.written % self._partitions,
                timestamp=int((time.time_ns() / 1e9 + self.ahead_s) * 1000) if self.ahead_s else 0,
            )
        except (BufferError, KafkaException):  # no broker, or no topic
            return
        self.written += 1


@dataclass
class Service:
    """A program of ours with its own settings, port and log.

    Attributes:
        job: as which Prometheus scrapes it.
        settings: written to its configuration file at each start and at ``write``.
    """

    job: str
    folder: Path
    prometheus: Prometheus
    settings: dict[str, Any]
    command: Sequence[str] = RUN
    port: int = field(default_factory=free_port)
    _process: ServiceProcess | None = None
    _starts: int = 0

    @property
    def config(self) -> Path:
        """Its configuration file."""
        return self.folder / f"{self.job}-{self.port}.yaml"

    @property
    def process(self) -> ServiceProcess:
        """The process that was started last."""
        if self._process is None:
            raise AssertionError(f"{self.job} was not started")
        return self._process

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.is_running

    def write(self) -> None:
        """Write the configuration file."""
        self.config.write_text(yaml.safe_dump(self.settings))

    def start(self, *, ready: bool = True, within_s: float = 300.0) -> None:
        """Start it, and wait until it has partitions."""
        self.write()
        self._starts += 1
        log = self.folder / f"{self.job}-{self.port}-{self._starts}.log"
        self._process = ServiceProcess(self.config, log, command=self.command)
        self.prometheus.scrape(self.port, self.job)
        if ready:
            self.wait_ready(within_s=within_s)

    def wait_ready(self, *, within_s: float = 300.0) -> None:
        """Wait until its probe says that it is ready; fail if it ends."""

        def is_ready() -> bool:
            if not self.is_running:
                raise AssertionError(f"{self.job} ended:\n{self.said_last()}")
            return self.get("/readyz")

        wait_until(is_ready, what=f"{self.job} is ready", timeout_s=within_s, every_s=0.5)

    def get(self, path: str) -> bool:
        """Whether it answers a path with 200."""
        try:
            url = f"http://127.0.0.1:{self.port}{path}"
            with urllib.request.urlopen(url, timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def ensure(self) -> None:
        """Start it again if it has ended: an earlier attempt may have cost it its life."""
        if not self.is_running:
            self.start()

    def restart(self) -> None:
        """Drain it and start it again with the present settings."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """End it as an operator does; kill it if it does not end."""
        if self.is_running:
            self.process.terminate()
            with suppress(TimeoutError):
                self.process.wait()
        self.close()

    def close(self) -> None:
        """Kill what is left."""
        if self._process is not None:
            self._process.close()

    def leave(self) -> None:
        """End it for good: nobody scrapes it any more."""
        self.stop()
        self.prometheus.forget(self.port)

    def said_last(self) -> str:
        """Return the end of its log."""
        return self.process.log.read_text(errors="replace")[-1500:] if self._process else ""


@dataclass
class Stage:
    """Where stories take place.

    Attributes:
        attempts: that were made so far.
        patience: by what all waits are multiplied; above 1 on a machine that is busy.
    """

    kafka: Cluster
    prometheus: Prometheus
    folder: Path
    patience: float = 1.0
    attempts: list[Attempt] = field(default_factory=list)
    _open: ExitStack = field(default_factory=ExitStack)

    def service(self, job: str, *, partitions: int = 2, **sections: Mapping[str, Any]) -> Service:
        """Return a service on new topics that is not started yet; closed at the end."""
        names = ("texts", "labels", "review", "dead")
        topics = [
            self.kafka.topic(f"{job}-{name}", partitions=partitions if name == "texts" else 1)
            for name in names
        ]
        settings: dict[str, Any] = {
            "kafka": {
                "bootstrap_servers": self.kafka.bootstrap,
                "group_id": topics[0],
                "session_timeout_ms": 6000,
                "heartbeat_interval_ms": 1000,
                "metadata_max_age_ms": 1000,
                "request_timeout_ms": 8000,
            },
            "input": {"topic": topics[0]},
            "output": {
                "labels_topic": topics[1],
                "review_topic": topics[2],
                "dead_letter_topic": topics[3],
            },
            "model": {"backend": "fake", "batch_s": 0.02},
            "routing": {"threshold": 0.6},
            "logging": {"format": "json"},
        }
        return self.program(
            job, {**settings, **{k: {**settings.get(k, {}), **v} for k, v in sections.items()}}
        )

    def program(
        self, job: str, settings: Mapping[str, Any], *, command: Sequence[str] = RUN
    ) -> Service:
        """Return a program with these settings and a port of its own for metrics."""
        made = Service(job, self.folder, self.prometheus, dict(settings), command)
        made.settings["http"] = {
            **made.settings.get("http", {}),
            "host": "127.0.0.1",
            "port": made.port,
        }
        self._open.callback(made.close)
        return made

    def another(self, service: Service) -> Service:
        """Return one more member of a service's group, which is not started yet."""
        return self.program(service.job, service.settings)

    def feeder(self, service: Service, *, rate_s: float, partitions: int = 2) -> Feeder:
        """Return a feeder of a service's input that is not started yet; stopped at the end."""
        made = Feeder(
            self.kafka.bootstrap,
            service.settings["input"]["topic"],
            partitions=partitions,
            rate_s=rate_s,
        )

        def stop() -> None:
            if made._thread.is_alive():  # noqa: SLF001 its own
                made.stop()

        self._open.callback(stop)
        return made

    @contextmanager
    def alert(self, name: str, job: str | None, *, fault: str, remedy: str) -> Iterator[Attempt]:
        """Note what becomes of an alert; what goes wrong in the body is noted and ends it."""
        attempt = Attempt(
            name,
            fault,
            remedy,
            _claim=lambda: self.prometheus.firing(name, job),
            _patience=self.patience,
        )
        self.attempts.append(attempt)
        try:
            yield attempt
        except (AssertionError, KafkaException, OSError, TimeoutError) as error:
            attempt.problem = f"{type(error).__name__}: {error}"
        attempt.is_over = True
        sys.stderr.write(
            f"{time.strftime('%H:%M:%S')} {name}: fired {_rounded(attempt.fired_s)},"
            f" resolved {_rounded(attempt.resolved_s)} {attempt.problem}\n"
        )

    def wait(self, claim: Callable[[], bool], *, what: str, within_s: float = 120.0) -> None:
        """Wait for something, with the patience of the stage."""
        wait_until(claim, what=what, timeout_s=within_s * self.patience, every_s=_EVERY_S)

    def close(self) -> None:
        """End everything that was started here."""
        self._open.close()


def _rounded(seconds: float | None) -> str:
    return "no" if seconds is None else f"{seconds:.0f} s"
