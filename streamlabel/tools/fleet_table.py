"""The size of a fleet and what it was computed from, as rows and as a Markdown table. Pure."""

from collections.abc import Iterable

from streamlabel.tools.fleet_size import Measured, Wanted, bottleneck, fleet

__all__ = ["markdown", "rows"]


def rows(found: Measured, wanted: Wanted) -> list[tuple[str, str]]:
    """Return the result and its inputs, each with what it is.

    Raises:
        ValueError: there are fewer partitions than processes.
    """
    return [*_processes(found, wanted), *_topics(found, wanted), *_scaling(found, wanted)]


def markdown(shown: Iterable[tuple[str, str]]) -> str:
    """Return rows as a table."""
    return "| | |\n| --- | ---: |\n" + "".join(f"| {name} | {value} |\n" for name, value in shown)


def _n(number: float) -> str:
    return f"{number:,.1f}"


def _processes(found: Measured, wanted: Wanted) -> Iterable[tuple[str, str]]:
    answer = fleet(found, wanted)
    yield "texts/s wanted", f"{wanted.texts_per_s:,.0f}"
    yield f"with {wanted.headroom:.0%} headroom", f"{answer.peak_per_s:,.0f}"
    yield "one process makes", f"{found.per_process:,.1f} texts/s on {found.process_cores} cores"
    yield f"service processes, each at {wanted.load:.0%}", f"{answer.processes:,}"
    yield "their cores", f"{answer.process_cores:,}"
    yield (
        f"of those for consuming, {found.kafka.consumer_us:.0f} µs a text",
        _n(answer.consumer_cores),
    )
    if found.process_mib is not None and answer.memory_gib is not None:
        yield (
            "their memory",
            f"{answer.memory_gib:,.1f} GiB ({found.process_mib:,.0f} MiB each)",
        )
    yield "texts in flight at most", f"{answer.in_flight_gib:,.1f} GiB"
    if answer.price_month is not None and answer.price_million is not None:
        yield "their price for a month of 730 hours", f"{answer.price_month:,.2f}"
        yield "and for a million texts at the wanted rate", f"{answer.price_million:,.4f}"


def _topics(found: Measured, wanted: Wanted) -> Iterable[tuple[str, str]]:
    answer = fleet(found, wanted)
    yield "partitions", f"{answer.partitions:,}"
    yield "busiest process over average", f"{answer.busiest:.2f}"
    yield f"topics and groups of up to {found.kafka.members} members", f"{answer.groups:,}"
    yield (
        f"written by clients, {found.input_bytes:.0f} + {found.output_bytes:.0f} bytes a text",
        f"{answer.produced_mb_s:,.1f} MB/s",
    )
    yield f"stored, {wanted.replication} copies", f"{answer.stored_mb_s:,.1f} MB/s"
    yield "sent to replicas and readers", f"{answer.sent_mb_s:,.1f} MB/s"
    yield (
        f"broker cores, {found.kafka.broker_us:.0f} µs a text, no replicas",
        _n(answer.broker_cores),
    )
    yield (
        f"the same if requests are full, {found.kafka.broker_full_us:.0f} µs",
        _n(answer.broker_full_cores),
    )
    yield (
        f"brokers of {wanted.broker_cores} cores, if a copy costs as much as the original",
        f"{answer.brokers:,}",
    )


def _scaling(found: Measured, wanted: Wanted) -> Iterable[tuple[str, str]]:
    answer = fleet(found, wanted)
    yield f"KEDA lagThreshold, for {wanted.lag_s:g} s of lag", f"{answer.lag_threshold:,}"
    yield "KEDA activationLagThreshold", f"{answer.activation_lag:,}"
    yield "first bottleneck", bottleneck(answer)
