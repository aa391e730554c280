"""Figures, page and plot of ``benchmarks.latency``."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import plot, results_file
from benchmarks.burst import Burst
from benchmarks.open_loop import quantile
from benchmarks.scheduling import Costs
from benchmarks.start_up import Start, median_parts

__all__ = ["LOADS", "Latencies", "Load", "Schedules", "figures", "write"]

LOADS = (0.1, 0.5, 0.8, 0.95)  # shares of the capacity


@dataclass(frozen=True, slots=True)
class Load:
    """One arrival rate: of each record its latency, the index of its text, and when it was due."""

    per_s: float
    waits_s: list[float]
    drawn: list[int]
    due_s: list[float]

    def ms(self, share: float) -> float:
        """Return this quantile of the latencies."""
        return 1000 * quantile(self.waits_s, share)


@dataclass(frozen=True, slots=True)
class Schedules:
    """What schedulers make of the arrivals at 80 % of the capacity, simulated.

    Attributes:
        ideal_s: p99 of the ideal one.
        ideal: what it does.
        ours_s: p99 of the service's own, if nothing but the model took time.
        costs: of a batch, measured by the engine alone.
    """

    ideal_s: float
    ideal: str
    ours_s: float
    costs: Costs


@dataclass(frozen=True, slots=True)
class Latencies:
    """All measurements.

    Attributes:
        seconds: duration of each load.
        capacity: texts/s of the service draining the mix.
        ours: the service, by LOADS; null, plain: the null model and the plain loop at the first.
        single_s: seconds of the engine alone for one text, for the texts sent at the first load.
        full_batch_s: seconds of the engine alone for one batch of the whole token budget.
        burst_capacity: texts/s of the service draining every fourth record of the burst.
    """

    seconds: float
    capacity: float
    ours: list[Load]
    null: Load
    plain: Load
    single_s: list[float]
    full_batch_s: float
    full_batch_texts: float
    scheduled: Schedules
    burst: Burst
    burst_size: int
    burst_capacity: float
    starts: Sequence[Start]


def figures(found: Latencies) -> dict[str, float]:
    """Return the target figures and their inputs."""
    at = dict(zip(LOADS, found.ours, strict=True))
    without_broker_ms = at[0.1].ms(0.99) - found.null.ms(0.99)
    single_p99_ms = 1000 * quantile(found.single_s, 0.99)
    single_p50_ms = 1000 * quantile(found.single_s, 0.5)
    named: dict[str, float] = {
        "p99_at_10_over_single": without_broker_ms / single_p99_ms,
        "p99_at_10_over_single_median": without_broker_ms / single_p50_ms,
        "p99_at_80_over_batch": at[0.8].ms(0.99) / (1000 * found.full_batch_s),
        "p99_at_80_over_ideal": at[0.8].ms(0.99) / (1000 * found.scheduled.ideal_s),
        "ideal_p99_ms_at_80": 1000 * found.scheduled.ideal_s,
        "simulated_p99_ms_at_80": 1000 * found.scheduled.ours_s,
        "simulated_p99_at_80_over_ideal": found.scheduled.ours_s / found.scheduled.ideal_s,
        "naive_p99_over_ours": found.plain.ms(0.99) / at[0.1].ms(0.99),
        "burst_over_capacity": found.burst.texts_per_s / found.burst_capacity,
        "burst_out_of_order": found.burst.out_of_order,
        "fresh_longest_wait_over_backlog": found.burst.longest_over_backlog,
        "fresh_median_wait_over_backlog": found.burst.median_over_backlog,
        "fresh_longest_wait_s": found.burst.longest_fresh_s,
        "start_to_first_label_s": statistics.median(each.seconds for each in found.starts),
        "capacity_texts_per_s": found.capacity,
        "single_p50_ms": single_p50_ms,
        "single_p99_ms": single_p99_ms,
        "full_batch_ms": 1000 * found.full_batch_s,
        "null_p50_ms": found.null.ms(0.5),
        "null_p99_ms": found.null.ms(0.99),
        "naive_p50_ms": found.plain.ms(0.5),
        "naive_p99_ms": found.plain.ms(0.99),
        "burst_texts_per_s": found.burst.texts_per_s,
        "burst_capacity_texts_per_s": found.burst_capacity,
    }
    for share, load in at.items():
        named |= {f"p50_ms_at_{share:.0%}"[:-1]: load.ms(0.5)}
        named |= {f"p99_ms_at_{share:.0%}"[:-1]: load.ms(0.99)}
    return named


def write(found: Latencies, *, command: str) -> None:
    """Write figures, page and plot."""
    named = figures(found)
    parts = median_parts(found.starts)
    results_file.write(
        "latency",
        command=command,
        figures=named,
        page=_page(found, named, parts),
        details={
            "starts_s": [round(each.seconds, 3) for each in found.starts],
            "start_parts_s": {part: round(seconds, 3) for part, seconds in parts.items()},
        },
    )
    shares = [100 * share for share in LOADS]
    plot.lines(
        results_file.RESULTS / "latency.svg",
        "From event time to published, MiniLM fp32",
        "load, % of the service's capacity",
        "ms",
        {
            "service, p99": [(x, y.ms(0.99)) for x, y in zip(shares, found.ours, strict=True)],
            "service, p50": [(x, y.ms(0.5)) for x, y in zip(shares, found.ours, strict=True)],
            "plain loop, p99": [(shares[0], found.plain.ms(0.99))],
            "null model, p99": [(shares[0], found.null.ms(0.99))],
        },
        logarithmic=True,
    )


def _page(found: Latencies, named: dict[str, float], parts: dict[str, float]) -> str:
    return (
        f"MiniLM fp32, 4 partitions, {found.seconds:g} s of Poisson arrivals at each load, texts"
        " drawn at random from the heavy-tailed mix of `benchmarks.throughput`. Latency is from"
        " the time at which the record was due, its own timestamp, to when the broker appended the"
        " output (`LogAppendTime`). Broker, sender and reader run on the same cores.\n\n"
        + _table(found)
        + "\n![latency over load](latency.svg)\n\n"
        + _against_the_engine(named, found)
        + _against_the_ideal(named, found.scheduled)
        + _of_the_burst(named, found)
        + _of_the_start(named, parts, len(found.starts))
    )


def _table(found: Latencies) -> str:
    rows = [
        (f"service at {share:.0%} of {found.capacity:.0f} texts/s", load)
        for share, load in zip(LOADS, found.ours, strict=True)
    ]
    rows += [("null model at the lowest load", found.null), ("plain loop, same load", found.plain)]
    return (
        "| | texts/s | texts | p50 ms | p99 ms |\n| --- | ---: | ---: | ---: | ---: |\n"
        + "".join(
            f"| {name} | {load.per_s:.1f} | {len(load.waits_s)} | {load.ms(0.5):.0f}"
            f" | {load.ms(0.99):.0f} |\n"
            for name, load in rows
        )
    )


def _against_the_engine(named: dict[str, float], found: Latencies) -> str:
    return (
        "The engine alone takes one text at a time, tokenising included, in"
        f" {named['single_p50_ms']:.1f} ms (median) and {named['single_p99_ms']:.0f} ms (p99) over"
        " the same texts as at the lowest load: the mix has long ones, so p99 is compared with p99."
        " The time in the broker is the p99 of the null model. (p99 at 10 % - time in the broker) /"
        f" p99 alone = {named['p99_at_10_over_single']:.2f} (target 2); divided by the"
        f" median alone it is {named['p99_at_10_over_single_median']:.1f}. A batch that fills the"
        f" token budget ({found.full_batch_texts:.0f} texts) takes the engine alone"
        f" {named['full_batch_ms']:.0f} ms: p99 at 80 % is {named['p99_at_80_over_batch']:.2f} of"
        f" it (target 4). At the lowest load the plain loop's p99 is"
        f" {named['naive_p99_over_ours']:.1f} times ours.\n\n"
    )


def _against_the_ideal(named: dict[str, float], scheduled: Schedules) -> str:
    costs = scheduled.costs
    return (
        "The ideal scheduler (`benchmarks.scheduling`) on the arrivals at 80 %, simulated with what"
        f" a batch costs the engine alone ({1000 * costs.call_s:.1f} ms and"
        f" {1e6 * costs.token_s:.0f} µs a token, all streams busy), has a p99 of"
        f" {named['ideal_p99_ms_at_80']:.0f} ms ({scheduled.ideal}); the service's is"
        f" {named['p99_at_80_over_ideal']:.2f} of it (target 1.25 at most). Its own scheduler,"
        f" simulated in the same way, has {named['simulated_p99_ms_at_80']:.0f} ms,"
        f" {named['simulated_p99_at_80_over_ideal']:.2f} of the ideal: the rest is what shares the"
        " cores with the model.\n\n"
    )


def _of_the_burst(named: dict[str, float], found: Latencies) -> str:
    return (
        f"A burst of {found.burst_size:,} texts of the mix at once, with 5 short and 0.5 long"
        f" texts a second arriving behind it: {named['burst_texts_per_s']:.1f} texts/s until it is"
        f" drained, {named['burst_over_capacity']:.2f} of the"
        f" {named['burst_capacity_texts_per_s']:.1f} texts/s at which every fourth of the same"
        f" texts drains with nothing behind. {found.burst.out_of_order} outputs out of input"
        f" order. {found.burst.fresh} fresh short texts came meanwhile; the longest wait,"
        f" {named['fresh_longest_wait_s']:.1f} s, is"
        f" {named['fresh_longest_wait_over_backlog']:.2f} of what the backlog in front of it needs"
        f" at that rate (median of all: {named['fresh_median_wait_over_backlog']:.2f}).\n\n"
    )


def _of_the_start(named: dict[str, float], parts: dict[str, float], count: int) -> str:
    listed = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in parts.items())
    return (
        "From starting `streamlabel run` with warm files and compiled bytecode to the first label"
        f" of a record that waits already: {named['start_to_first_label_s']:.2f} s (median of"
        f" {count}, target 2). Parts, medians: {listed}.\n"
    )
