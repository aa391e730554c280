"""Computes the size of a fleet: processes, partitions, cores, memory and bytes for a rate."""

from dataclasses import dataclass
from math import ceil

from streamlabel.config.settings import BatchingSettings

__all__ = ["Fleet", "Measured", "Wanted", "bottleneck", "fleet", "table"]

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Measured:
    """Measured figures of one process, one record and one broker.

    Attributes:
        per_process: texts/s of one service process with its model.
        process_cores: cores of that process.
        process_mib: peak resident memory, worker included.
        consumer_per_s: records/s of one consumer process with the null model.
        consumer_us, broker_us: CPU time per record; the broker's without replicas.
        broker_full_us: the broker's with full requests, as with the null model.
        input_bytes, output_bytes: size of a record's value.
        members: of the largest measured group.
    """

    per_process: float
    process_cores: int
    process_mib: float
    consumer_per_s: float
    consumer_us: float
    broker_us: float
    broker_full_us: float
    input_bytes: float
    output_bytes: float
    members: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """The requirements of the fleet.

    Attributes:
        load: fraction of its capacity at which a process works; latency grows above it, see
            benchmarks/results/latency.md.
        headroom: fraction by which the fleet exceeds texts_per_s, for peaks and failed processes.
        partitions: of all input topics together; None: two per process.
        replication: number of copies of every record.
    """

    texts_per_s: float = float(_MILLION)
    load: float = 0.8
    headroom: float = 0.3
    partitions: int | None = None
    replication: int = 3


@dataclass(frozen=True, slots=True)
class Fleet:
    """The size of the fleet; cores and bytes are those at ``peak_per_s``.

    Attributes:
        peak_per_s: required texts/s with headroom.
        is_limited_by_model: False: the consumer process is slower than the model.
        busiest: partitions of the busiest process / average; 1 means evenly distributed.
        groups: number of topics, each with its own group, so that no group is larger than the
            largest measured one.
        in_flight_gib: maximum texts in flight of all processes, with values of average size.
        produced_mb_s: written by clients: inputs and outputs.
        stored_mb_s: the same with replicas.
        sent_mb_s: sent by the brokers: to replicas, to the fleet, to one reader of outputs.
    """

    peak_per_s: float
    processes: int
    is_limited_by_model: bool
    partitions: int
    busiest: float
    groups: int
    process_cores: int
    consumer_cores: float
    broker_cores: float
    broker_full_cores: float
    memory_gib: float
    in_flight_gib: float
    produced_mb_s: float
    stored_mb_s: float
    sent_mb_s: float


def fleet(found: Measured, wanted: Wanted) -> Fleet:
    """Return the required size of the fleet.

    Raises:
        ValueError: there are fewer partitions than processes, so some would be idle.
    """
    peak_per_s = wanted.texts_per_s * (1 + wanted.headroom)
    per_process = min(found.per_process, found.consumer_per_s)
    processes = ceil(peak_per_s / (wanted.load * per_process))
    partitions = wanted.partitions or 2 * processes
    if partitions < processes:
        raise ValueError(f"{processes} processes need at least as many partitions")
    in_bytes, out_bytes = found.input_bytes * peak_per_s, found.output_bytes * peak_per_s
    produced = (in_bytes + out_bytes) / _MILLION
    items = BatchingSettings().max_in_flight_items
    return Fleet(
        peak_per_s=peak_per_s,
        processes=processes,
        is_limited_by_model=found.per_process <= found.consumer_per_s,
        partitions=partitions,
        busiest=ceil(partitions / processes) * processes / partitions,
        groups=ceil(processes / found.members),
        process_cores=processes * found.process_cores,
        consumer_cores=peak_per_s * found.consumer_us / _MILLION,
        broker_cores=peak_per_s * found.broker_us / _MILLION,
        broker_full_cores=peak_per_s * found.broker_full_us / _MILLION,
        memory_gib=processes * found.process_mib / 1024,
        in_flight_gib=processes * items * found.input_bytes / 2**30,
        produced_mb_s=produced,
        stored_mb_s=produced * wanted.replication,
        # To the other replicas, and once to the consumer: the fleet, or a reader of outputs.
        sent_mb_s=produced * wanted.replication,
    )


def _n(cores: float) -> str:
    return f"{cores:,.1f}"


def bottleneck(answer: Fleet) -> str:
    """Return the component that needs the largest part of the cores."""
    model_cores = answer.process_cores - answer.consumer_cores
    if not answer.is_limited_by_model:
        return "the consumer process, which is slower than the model"
    parts = {
        "the model": model_cores,
        "the consumer processes": answer.consumer_cores,
        "the brokers": answer.broker_cores,
    }
    name, cores = max(parts.items(), key=lambda part: part[1])
    return f"{name}: {cores / sum(parts.values()):.0%} of all cores"


def table(found: Measured, wanted: Wanted) -> str:
    """Return the result and its inputs as a Markdown table."""
    answer = fleet(found, wanted)
    rows = (
        ("texts/s wanted", f"{wanted.texts_per_s:,.0f}"),
        (f"with {wanted.headroom:.0%} headroom", f"{answer.peak_per_s:,.0f}"),
        ("one process makes", f"{found.per_process:,.1f} texts/s on {found.process_cores} cores"),
        (f"service processes, each at {wanted.load:.0%}", f"{answer.processes:,}"),
        ("their cores", f"{answer.process_cores:,}"),
        (f"of those for consuming, {found.consumer_us:.0f} µs a text", _n(answer.consumer_cores)),
        ("their memory", f"{answer.memory_gib:,.0f} GiB ({found.process_mib:,.0f} MiB each)"),
        ("texts in flight at most", f"{answer.in_flight_gib:,.1f} GiB"),
        ("partitions", f"{answer.partitions:,}"),
        ("busiest process over average", f"{answer.busiest:.2f}"),
        (f"topics and groups of up to {found.members} members", f"{answer.groups:,}"),
        (
            f"written by clients, {found.input_bytes:.0f} + {found.output_bytes:.0f} bytes a text",
            f"{answer.produced_mb_s:,.0f} MB/s",
        ),
        (f"stored, {wanted.replication} copies", f"{answer.stored_mb_s:,.0f} MB/s"),
        ("sent to replicas and readers", f"{answer.sent_mb_s:,.0f} MB/s"),
        (f"broker cores, {found.broker_us:.0f} µs a text, no replicas", _n(answer.broker_cores)),
        (
            f"the same if requests are full, {found.broker_full_us:.0f} µs",
            _n(answer.broker_full_cores),
        ),
        ("first bottleneck", bottleneck(answer)),
    )
    return "| | |\n| --- | ---: |\n" + "".join(f"| {name} | {value} |\n" for name, value in rows)
