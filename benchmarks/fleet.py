"""The CPU cost of draining a backlog with several processes of one consumer group."""

import contextlib
import os
import statistics
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import psutil
from confluent_kafka import ConsumerGroupState

from benchmarks.backlog import ends, fill, wait_for, written
from benchmarks.kafka_to_kafka import Contender
from testing.kafka_broker import Cluster, LocalCluster, wait_until

__all__ = ["Drained", "drain"]

_JOIN_LIMIT_S = 300.0  # 32 processes on two cores


@dataclass(frozen=True, slots=True)
class Drained:
    """The results of draining a backlog with several processes.

    Attributes:
        records_per_s: of the outputs that were published after the last input had been written.
        output_bytes: mean of the outputs' values.
        seconds: from the first input written to the last output seen.
        cores: of the machine.
        busy_cores: average number of busy cores, for everything on the machine.
        service_cores, worker_cores, broker_cores: CPU seconds per second of those processes.
    """

    processes: int
    records: int
    records_per_s: float
    output_bytes: float
    seconds: float
    cores: int
    busy_cores: float
    service_cores: float
    worker_cores: float
    broker_cores: float

    def us_per_record(self, cores: float) -> float:
        """Return microseconds of CPU time per record for one of the process groups."""
        return 1e6 * cores * self.seconds / self.records


def drain(
    cluster: LocalCluster,
    contender: Contender,
    values: Iterable[bytes],
    *,
    group: str,
    processes: int,
    partitions: int,
) -> Drained:
    """Start the processes, wait for their assignment, write a backlog and measure the drain."""
    with _fleet(contender, processes) as services:
        wait_until(
            lambda: _has_joined(cluster, group, processes, partitions),
            what=f"{processes} members share {partitions} partitions",
            timeout_s=_JOIN_LIMIT_S,
            every_s=0.5,
        )
        before = ends(cluster, contender.output_topics)
        families = _families(cluster, services)
        used, busy_s, began_s = _cpu_s(families), _machine_s(), time.time_ns() / 1e9
        records = fill(cluster, contender.input_topic, values, partitions=partitions)
        filled_s = time.time_ns() / 1e9
        wait_for(cluster, before, records=records)
        seconds = time.time_ns() / 1e9 - began_s
        busy = (_machine_s() - busy_s) / seconds
        shares = [(now - then) / seconds for now, then in zip(_cpu_s(families), used, strict=True)]
    outputs = written(cluster, before, records=records)
    late = [stamp for stamp, _ in outputs if stamp > filled_s]
    return Drained(
        processes,
        records,
        len(late) / (late[-1] - filled_s),
        statistics.mean(size for _, size in outputs),
        seconds,
        os.cpu_count() or 1,
        busy,
        *shares,
    )


@contextlib.contextmanager
def _fleet(contender: Contender, count: int) -> Iterator[list[psutil.Process]]:
    started = [subprocess.Popen(contender.command) for _ in range(count)]
    try:
        yield [psutil.Process(process.pid) for process in started]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _has_joined(cluster: Cluster, group: str, members: int, partitions: int) -> bool:
    """Return whether the group is stable and these members have all partitions."""
    admin = cluster.admin()  # keeps a reference: deleting the client cancels its requests
    found = admin.describe_consumer_groups([group])[group].result(30)
    shares = [len(member.assignment.topic_partitions) for member in found.members]
    return (
        found.state == ConsumerGroupState.STABLE
        and len(shares) == members
        and sum(shares) == partitions
        and max(shares) - min(shares) <= 1
    )


def _families(
    cluster: LocalCluster, services: Sequence[psutil.Process]
) -> list[list[psutil.Process]]:
    """Return the services, their workers, the brokers."""
    workers = [child for service in services for child in service.children(recursive=True)]
    brokers = [psutil.Process(node.process.pid) for node in cluster.nodes if node.process]
    return [list(services), workers, brokers]


def _cpu_s(families: Sequence[Sequence[psutil.Process]]) -> list[float]:
    return [
        sum(times.user + times.system for times in (each.cpu_times() for each in family))
        for family in families
    ]


def _machine_s() -> float:
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
