"""Computes the size of a fleet for a rate: processes, partitions, memory, brokers, cost. Pure."""

from dataclasses import dataclass
from math import ceil, floor
from typing import Final

from streamlabel.config.settings import BatchingSettings

__all__ = [
    "KAFKA", "USUAL_BYTES", "Fleet", "KafkaCosts", "Measured", "Wanted", "bottleneck", "fleet",
]  # fmt: skip

_MILLION = 1_000_000


_HOUR_S: Final = 3600
_MONTH_H: Final = 730


@dataclass(frozen=True, slots=True)
class KafkaCosts:
    """What reading and writing cost, which does not depend on the model.

    Attributes:
        consumer_per_s: records/s of one consumer process with the null model.
        consumer_us, broker_us: CPU time per record; the broker's without replicas.
        broker_full_us: the broker's with full requests, as with the null model.
        members: of the largest measured group.
    """

    consumer_per_s: float
    consumer_us: float
    broker_us: float
    broker_full_us: float
    members: int


# As measured by benchmarks.delivery and benchmarks.scale; a test compares with their results.
KAFKA: Final = KafkaCosts(
    consumer_per_s=20807, consumer_us=196, broker_us=71, broker_full_us=6.0, members=32
)

# Mean sizes of input and output values in benchmarks.scale, where sizes are not measured.
USUAL_BYTES: Final = (192, 702)


@dataclass(frozen=True, slots=True)
class Measured:
    """Measured figures of one process and its records.

    Attributes:
        per_process: texts/s of one service process with its model.
        process_cores: cores of that process, worker included.
        process_mib: peak resident memory, worker included; None: not known.
        input_bytes, output_bytes: size of a record's value; of all outputs for a record together.
        kafka: what reading and writing cost.
    """

    per_process: float
    process_cores: int
    process_mib: float | None
    input_bytes: float
    output_bytes: float
    kafka: KafkaCosts = KAFKA


@dataclass(frozen=True, slots=True)
class Wanted:
    """The requirements of the fleet.

    Attributes:
        load: fraction of its capacity at which a process works; latency grows above it, see
            benchmarks/results/latency.md.
        headroom: fraction by which the fleet exceeds texts_per_s, for peaks and failed processes.
        partitions: of all input topics together; None: two per process.
        replication: number of copies of every record.
        lag_s: seconds of lag that are acceptable before a scaler adds a process.
        broker_cores: of one broker, which works at ``load``, too.
        process_price: of the machine of one process for an hour, in any currency.
    """

    texts_per_s: float = float(_MILLION)
    load: float = 0.8
    headroom: float = 0.3
    partitions: int | None = None
    replication: int = 3
    lag_s: float = 60.0
    broker_cores: int = 8
    process_price: float | None = None


@dataclass(frozen=True, slots=True)
class Fleet:
    """The size of the fleet; cores and bytes are those at ``peak_per_s``.

    Attributes:
        peak_per_s: required texts/s with headroom.
        is_limited_by_model: False: the consumer process is slower than the model.
        busiest: partitions of the busiest process / average; 1 means evenly distributed.
        groups: number of topics, each with its own group, so that no group is larger than the
            largest measured one.
        memory_gib: None: not known.
        in_flight_gib: maximum texts in flight of all processes, with values of average size.
        brokers: enough for their cores if a copy costs as much as the original, and for the copies.
        lag_threshold: ``lagThreshold`` of KEDA: the lag of one process at its capacity.
        activation_lag: ``activationLagThreshold``: on a topic with transactions the lag of an idle
            group is up to one for each partition.
        price_month, price_million: of the processes for a month, and for a million texts at the
            wanted rate; None: no price was given.
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
    memory_gib: float | None
    in_flight_gib: float
    produced_mb_s: float
    stored_mb_s: float
    sent_mb_s: float
    brokers: int
    lag_threshold: int
    activation_lag: int
    price_month: float | None
    price_million: float | None


def fleet(found: Measured, wanted: Wanted) -> Fleet:
    """Return the required size of the fleet.

    Raises:
        ValueError: there are fewer partitions than processes, so some would be idle.
    """
    kafka = found.kafka
    peak_per_s = wanted.texts_per_s * (1 + wanted.headroom)
    per_process = min(found.per_process, kafka.consumer_per_s)
    processes = ceil(peak_per_s / (wanted.load * per_process))
    partitions = wanted.partitions or 2 * processes
    if partitions < processes:
        raise ValueError(
            f"{processes:,} processes need at least as many partitions, not {partitions:,}"
        )
    in_bytes, out_bytes = found.input_bytes * peak_per_s, found.output_bytes * peak_per_s
    produced = (in_bytes + out_bytes) / _MILLION
    items = 2 * BatchingSettings().max_in_flight_items  # as many again may be being written
    broker_cores = peak_per_s * kafka.broker_us / _MILLION
    price = wanted.process_price
    return Fleet(
        peak_per_s=peak_per_s,
        processes=processes,
        is_limited_by_model=found.per_process <= kafka.consumer_per_s,
        partitions=partitions,
        busiest=ceil(partitions / processes) * processes / partitions,
        groups=ceil(processes / kafka.members),
        process_cores=processes * found.process_cores,
        consumer_cores=peak_per_s * kafka.consumer_us / _MILLION,
        broker_cores=broker_cores,
        broker_full_cores=peak_per_s * kafka.broker_full_us / _MILLION,
        memory_gib=None if found.process_mib is None else processes * found.process_mib / 1024,
        in_flight_gib=processes * items * found.input_bytes / 2**30,
        produced_mb_s=produced,
        stored_mb_s=produced * wanted.replication,
        # To the other replicas, and once to the consumer: the fleet, or a reader of outputs.
        sent_mb_s=produced * wanted.replication,
        brokers=max(
            wanted.replication,
            ceil(broker_cores * wanted.replication / (wanted.load * wanted.broker_cores)),
        ),
        lag_threshold=max(1, floor(per_process * wanted.lag_s)),
        activation_lag=partitions,
        price_month=None if price is None else price * processes * _MONTH_H,
        price_million=None
        if price is None
        else price * processes / (wanted.texts_per_s * _HOUR_S) * _MILLION,
    )


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
