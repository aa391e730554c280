"""The faults. Each strikes all runs that share a place and returns when the fault is over.

A fault that concerns one process is given one run. What it returns is when it was over, in
monotonic seconds: recovery counts from there.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

from confluent_kafka import Producer

from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.kafka.transactional_ids import input_id
from testing.chaos.processes import ServiceProcess
from testing.chaos.run import Run
from testing.kafka_broker import wait_until

__all__ = [
    "Fault",
    "broker_killed",
    "broker_restarted",
    "broker_unreachable",
    "coordinator_fences",
    "killed",
    "leader_killed",
    "output_denied",
    "output_limit_lowered",
    "rebalanced",
    "terminated",
    "transaction_timed_out",
    "worker_hung",
    "worker_killed",
    "zombie",
]

Fault = Callable[[Sequence[Run]], float]

_SESSION_S = 6.0
_AT_WORK_AGAIN_S = 2.0


def killed(runs: Sequence[Run]) -> float:
    """SIGKILL to a service; another is started in its place."""
    struck_s = time.monotonic()
    for run in runs:
        run.victim().kill()
        run.note_window()
        run.start_service()
    return struck_s


def terminated(runs: Sequence[Run]) -> float:
    """SIGTERM under load, one service after the other; another is started in its place."""
    for run in runs:
        victim = run.victim()
        victim.terminate()
        code = victim.wait()
        if code != 0:
            run.problems.append(f"exit code {code} after SIGTERM")
        run.start_service()
    return time.monotonic()


def zombie(runs: Sequence[Run]) -> float:
    """SIGSTOP past the session timeout while the others take over, then SIGCONT."""
    victims = [run.victim() for run in runs]
    heirs = [
        [each for each in run.members() if each is not victim]
        for run, victim in zip(runs, victims, strict=True)
    ]
    before = _assignments(heirs)
    stopped_s = time.monotonic()
    for run, victim in zip(runs, victims, strict=True):
        victim.pause()
        run.note_window()
    wait_until(
        lambda: all(now > then for now, then in zip(_assignments(heirs), before, strict=True)),
        what="the others take over",
        timeout_s=10 * _SESSION_S,
    )
    time.sleep(_AT_WORK_AGAIN_S)
    for victim in victims:
        victim.resume()
    return stopped_s  # the others must go on without it


def _assignments(groups: Sequence[Sequence[ServiceProcess]]) -> list[int]:
    return [sum(each.said("partitions_assigned") for each in group) for group in groups]


def rebalanced(runs: Sequence[Run]) -> float:
    """A process joins; after one to three seconds the oldest member leaves."""
    struck_s = time.monotonic()
    for run in runs:
        run.start_service()
        time.sleep(run.rng.uniform(1.0, 3.0))
        leaver = run.members()[0]
        leaver.terminate()
        if code := leaver.wait():
            run.problems.append(f"exit code {code} when leaving the group")
    return struck_s


def worker_killed(runs: Sequence[Run]) -> float:
    """SIGKILL to a worker process in the middle of its batch."""
    for run in runs:
        if not run.victim().kill_worker():
            run.problems.append("there was no worker to kill")
    return time.monotonic()


def worker_hung(runs: Sequence[Run]) -> float:
    """SIGSTOP to a worker: it answers no more, and its connection stays."""
    for run in runs:
        for worker in run.victim().workers():
            worker.suspend()
    return time.monotonic()


def broker_restarted(runs: Sequence[Run]) -> float:
    """The only broker is shut down in order and started again."""
    return _broker_down(runs, in_order=True)


def broker_killed(runs: Sequence[Run]) -> float:
    """The only broker is killed and started again."""
    return _broker_down(runs, in_order=False)


def _broker_down(runs: Sequence[Run], *, in_order: bool) -> float:
    cluster = runs[0].place.cluster
    if in_order:
        cluster.stop_node()
    else:
        cluster.kill()
    cluster.start_node()
    runs[0].place.watch_nodes()
    over_s = time.monotonic()
    cluster.wait_ready()
    return over_s


def leader_killed(runs: Sequence[Run]) -> float:
    """The leader of an input partition is killed; it comes back after the others went on."""
    place = runs[0].place
    number = place.leader(runs[0].topics.texts, runs[0].rng.randrange(runs[0].partitions))
    place.cluster.kill(number)
    struck_s = time.monotonic()
    for run in runs:
        run.observer.wait_for(run.waiting(), timeout_s=60)
    place.cluster.start_node(number)
    place.watch_nodes()
    for run in runs:
        place.wait_in_sync(run.topics)
    return struck_s  # they must go on without it


def broker_unreachable(seconds: float) -> Fault:
    """The network between services and brokers is gone: reset, or silent, in turns."""
    return partial(_unreachable, seconds=seconds)


def _unreachable(runs: Sequence[Run], *, seconds: float) -> float:
    proxies = runs[0].place.proxies
    silent = len(runs[0].in_flight) % 2 == 0
    for proxy in proxies:
        if silent:
            proxy.stall()
        else:
            proxy.cut()
    time.sleep(seconds)
    for proxy in proxies:
        proxy.resume()
    return time.monotonic()


def output_denied(runs: Sequence[Run]) -> float:
    """The right to write labels is withdrawn; services leave with code 4; then it is granted."""
    for run in runs:
        run.place.deny_writes(run.topics.labels)
        hit = run.running()
        for service in hit:
            code = service.wait()
            if code != 4:
                run.problems.append(f"exit code {code} when the output was denied")
        run.note_window()
        run.place.deny_writes(run.topics.labels, allow_again=True)
        for _ in hit:
            run.start_service()
    return time.monotonic()


def output_limit_lowered(runs: Sequence[Run]) -> float:
    """The labels topic takes only small records from now on; nobody tells the services."""
    for run in runs:
        run.place.set_limit(run.topics.labels, 3000)
    return time.monotonic()


def coordinator_fences(runs: Sequence[Run]) -> float:
    """Somebody else starts producers with our transactional ids: the coordinator fences ours."""
    for run in runs:
        for partition in range(run.partitions):
            name = input_id(run.topics.texts, TopicPartition(run.topics.texts, partition))
            intruder = Producer(
                {
                    "bootstrap.servers": run.place.cluster.bootstrap,
                    "transactional.id": name,
                    "log_level": 0,
                }
            )
            intruder.init_transactions(30)
    return time.monotonic()


def transaction_timed_out(runs: Sequence[Run]) -> float:
    """A service stands still for longer than a transaction may take, but keeps its membership."""
    victims = [run.victim() for run in runs]
    for victim in victims:
        victim.pause()
    time.sleep(3.5)
    for victim in victims:
        victim.resume()
    return time.monotonic()
