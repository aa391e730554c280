"""Alerts about results, deployments and the group: one service, one fault after the other."""

import asyncio
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Final

from aiokafka import AIOKafkaConsumer
from confluent_kafka import Producer

from streamlabel.consumer.kafka.aiokafka_internals.group import sticky_assignor
from testing.alerting.stage import Feeder, Service, Stage, text_value, texts

__all__ = ["absent", "idle_member", "ordinary", "reload", "swap_refused", "worker"]

_POISON: Final = "poison"
_KEY: Final = "a secret of the group that is tried"


def absent(stage: Stage) -> Service:
    """Start a service with a configuration that cannot work; only while nothing else runs.

    Returns:
        The service, which runs.
    """
    control = stage.kafka.topic("control", cleanup_policy="compact")
    service = stage.service("ordinary", control={"topic": control, "key": _KEY})
    right = service.settings["model"]
    service.settings["model"] = {"backend": "encoder", "path": "./no-such-folder"}
    with stage.alert(
        "StreamlabelAbsent",
        None,
        fault="The only service ends with exit code 2: the folder of its model does not exist.",
        remedy="The configuration is corrected, as its last log line says, and it is started.",
    ) as alert:
        service.start(ready=False)
        code = service.process.wait(300)
        assert code == 2, f"exit code {code}"
        assert "no-such-folder" in service.said_last()
        alert.fires()
        service.settings["model"] = {**right, "fail_on": _POISON}
        service.start()
        alert.resolves()
    return service


def ordinary(stage: Stage, service: Service) -> None:
    """Cause what concerns a service that runs."""
    feeder = stage.feeder(service, rate_s=20)
    feeder.start()
    swap_refused(stage, service)
    _control_refused(stage, service)
    _clock(stage, service, feeder)
    _dead_letters(stage, service, feeder)
    _inference_retries(stage, service, feeder)
    _open_transaction(stage, service)
    _rebalances(stage, service)
    _nobody_reads(stage, service, feeder)
    feeder.stop()
    service.leave()


def reload(service: Service) -> None:
    """Write the settings, and have the service read them without a restart."""
    service.write()
    os.kill(service.process.pid, signal.SIGHUP)


def swap_refused(stage: Stage, service: Service) -> None:
    """Have the service read a configuration that does not fit its model."""
    service.ensure()
    with stage.alert(
        "StreamlabelSwapRefused",
        service.job,
        fault="SIGHUP with a configuration whose threshold names a label that the model has not.",
        remedy="What deployment_refused names is corrected, and SIGHUP is sent again.",
    ) as alert:
        routing = service.settings["routing"]
        service.settings["routing"] = {**routing, "thresholds": {"no such label": 0.9}}
        alert.now()
        reload(service)
        stage.wait(lambda: service.process.said("deployment_refused") > 0, what="it is refused")
        alert.fires(within_s=60)
        service.settings["routing"] = {**routing, "threshold": 0.59}
        reload(service)
        stage.wait(lambda: service.process.said("deployment_active") > 0, what="it is swapped")
        alert.resolves()


def _control_refused(stage: Stage, service: Service) -> None:
    service.ensure()
    with stage.alert(
        "StreamlabelControlRefused",
        service.job,
        fault="Another program writes to the control topic, without the key.",
        remedy="That program writes no more.",
    ) as alert:
        topic = service.settings["control"]["topic"]
        alert.now()
        stage.kafka.produce(topic, [b'{"kind": "order"}'], key=b"intruder")
        alert.fires()
        alert.resolves()


def _clock(stage: Stage, service: Service, feeder: Feeder) -> None:
    service.ensure()
    with stage.alert(
        "StreamlabelClock",
        service.job,
        fault="The clock of the producer is a minute ahead.",
        remedy="The clock of the producer is repaired.",
    ) as alert:
        alert.now()
        feeder.ahead_s = 60.0
        alert.fires()
        feeder.ahead_s = 0.0
        alert.resolves()
    feeder.ahead_s = 0.0


def _some(of: Iterator[bytes], *, every: int) -> Iterator[bytes]:
    """Yield good texts, and every so many one of the others."""
    good = map(text_value, texts())
    for number in itertools.count(1):
        yield next(of) if number % every == 0 else next(good)


def _dead_letters(stage: Stage, service: Service, feeder: Feeder) -> None:
    service.ensure()
    with stage.alert(
        "StreamlabelDeadLetters",
        service.job,
        fault="A producer changes its format: one record in ten has its text in another field.",
        remedy="The producer is corrected.",
    ) as alert:
        alert.now()
        other = (json.dumps({"body": f"text {n}"}).encode() for n in itertools.count())
        feeder.values = _some(other, every=10)
        alert.fires()
        feeder.values = map(text_value, texts())
        alert.resolves()
    feeder.values = map(text_value, texts())


def _inference_retries(stage: Stage, service: Service, feeder: Feeder) -> None:
    service.ensure()
    with stage.alert(
        "StreamlabelInferenceRetries",
        service.job,
        fault="The model raises an error on one text in five.",
        remedy="Those texts come no more: the producer filters them.",
    ) as alert:
        alert.now()
        bad = (text_value(f"{_POISON} {n}") for n in itertools.count())
        feeder.values = _some(bad, every=5)
        alert.fires()
        feeder.values = map(text_value, texts())
        alert.resolves()
    feeder.values = map(text_value, texts())


def _open_transaction(stage: Stage, service: Service) -> None:
    service.ensure()

    def producer() -> Producer:
        return Producer(
            {
                "bootstrap.servers": stage.kafka.bootstrap,
                "transactional.id": f"{service.job}-producer",
                # longer than the alert waits: after it the broker itself ends the transaction
                "transaction.timeout.ms": 600_000,
                "log_level": 0,
            }
        )

    with stage.alert(
        "StreamlabelOpenTransaction",
        service.job,
        fault="A producer of the input writes ten records and does not end its transaction.",
        remedy="That producer is restarted, which aborts its transaction.",
    ) as alert:
        hanging = producer()
        hanging.init_transactions(60)
        hanging.begin_transaction()
        alert.now()
        topic = service.settings["input"]["topic"]
        for text in itertools.islice(texts(), 10):
            hanging.produce(topic, value=text_value(text), partition=0)
        hanging.flush(60)
        alert.fires()
        producer().init_transactions(60)
        alert.resolves()


async def _come_and_go(bootstrap: str, topic: str, group: str) -> None:
    """Join a group with its assignor, and leave it."""
    member = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        partition_assignment_strategy=[sticky_assignor()],
        enable_auto_commit=False,
        session_timeout_ms=6000,
        heartbeat_interval_ms=500,
    )
    await member.start()
    try:
        await member.getmany(timeout_ms=1500)
    finally:
        await member.stop()


def _rebalances(stage: Stage, service: Service) -> None:
    service.ensure()
    stopping = threading.Event()
    topic, group = service.settings["input"]["topic"], service.settings["kafka"]["group_id"]

    def scale_up_and_down() -> None:
        while not stopping.is_set():
            asyncio.run(_come_and_go(stage.kafka.bootstrap, topic, group))

    with stage.alert(
        "StreamlabelRebalances",
        service.job,
        fault="A scaler that moves up and down: a second member joins and leaves all the time.",
        remedy="The scaler is made slower: no member comes or goes.",
    ) as alert:
        scaler = threading.Thread(target=scale_up_and_down, name="scaler", daemon=True)
        alert.now()
        scaler.start()
        try:
            alert.fires()
        finally:
            stopping.set()
            scaler.join(60)
        alert.now()
        alert.resolves()


def _nobody_reads(stage: Stage, service: Service, feeder: Feeder) -> None:
    service.ensure()
    with stage.alert(
        "StreamlabelNobodyReads",
        service.job,
        fault="The input topic is deleted.",
        remedy="The topic is created again, and the service, which ends with code 4, started.",
    ) as alert:
        feeder.rate_s = 0
        topic = service.settings["input"]["topic"]
        admin = stage.kafka.admin()
        alert.now()
        admin.delete_topics([topic])[topic].result(60)
        alert.fires()
        stage.kafka.fresh([topic], partitions=2)
        stage.wait(
            lambda: not service.is_running or service.get("/readyz"),
            what="it is ready again, or ends",
        )
        service.ensure()
        alert.resolves()


def idle_member(stage: Stage) -> None:
    """Run two processes on a topic with one partition."""
    service = stage.service("idle", partitions=1)
    service.start()
    with stage.alert(
        "StreamlabelIdleMember",
        service.job,
        fault="Two processes, and an input topic with one partition.",
        remedy="The process without partitions is stopped.",
    ) as alert:
        spare = stage.another(service)
        alert.now()
        spare.start()
        alert.fires(within_s=180)
        idle = spare if not spare.process.owned() else service
        idle.leave()
        alert.resolves()
    service.leave()


def worker(stage: Stage) -> None:
    """Cause what concerns the worker process and the event loop."""
    service = stage.service(
        "worker", worker={"batch_timeout_s": 25.0, "restart_backoff_s": 0.2}, partitions=2
    )
    service.start()
    feeder = stage.feeder(service, rate_s=10)
    feeder.start()
    with stage.alert(
        "StreamlabelWorkerDown",
        service.job,
        fault="The worker process hangs (SIGSTOP), as on a device that does not answer.",
        remedy="None: a batch exceeds worker.batch_timeout_s (25 s), and it is restarted.",
    ) as alert:
        alert.now()
        for process in service.process.workers():
            process.suspend()
        alert.fires()
        alert.resolves()
    with stage.alert(
        "StreamlabelWorkerRestarts",
        service.job,
        fault="The worker process is killed three times, as when memory runs out.",
        remedy="Whatever took the memory is stopped: it is killed no more.",
    ) as alert:
        alert.now()
        for number in range(1, 4):
            known = service.process.said("worker_restarted")
            assert service.process.kill_worker(), f"no worker to kill, {number}"
            stage.wait(partial(_says_more, service, known), what="it is restarted")
        alert.fires()
        alert.resolves()
    _event_loop(stage, service)
    feeder.stop()
    service.leave()


def _says_more(service: Service, known: int) -> bool:
    return service.process.said("worker_restarted") > known


def _event_loop(stage: Stage, service: Service) -> None:
    service.ensure()
    stopping = threading.Event()

    def throttle() -> None:
        while not stopping.is_set():
            service.process.pause()
            time.sleep(1.5)  # shorter than a scrape waits
            service.process.resume()
            time.sleep(0.8)

    with stage.alert(
        "StreamlabelEventLoop",
        service.job,
        fault="The service process stands for 1.5 s and runs for 0.8 s, as when it is throttled.",
        remedy="It is throttled no more.",
    ) as alert:
        throttling = threading.Thread(target=throttle, name="throttle", daemon=True)
        alert.now()
        throttling.start()
        try:
            alert.fires()
        finally:
            stopping.set()
            throttling.join(30)
        alert.now()
        alert.resolves()
