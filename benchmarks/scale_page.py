"""Figures, page and plot of ``benchmarks.scale``."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from benchmarks import plot, results_file
from benchmarks.engine_times import EngineTimes
from benchmarks.fleet import Drained

__all__ = ["efficiency", "figures", "first_bottleneck", "write"]

Null = Mapping[str, Mapping[int, Sequence[Drained]]]

_SCALES = 0.9  # efficiency above which there is no bottleneck
_BUSY = 0.85  # cores are fully used above this utilisation: some time is always lost


def efficiency(row: Drained, rows: Sequence[Drained]) -> float:
    """Return the rate divided by (rate of one process x number of processes)."""
    one = rows[0].records_per_s / rows[0].processes
    return row.records_per_s / (row.processes * one)


def first_bottleneck(rows: Sequence[Drained]) -> str:
    """Return the first exhausted resource and its users, from the measurements."""
    row = _first_short(rows)
    if row is not None:
        share = efficiency(row, rows)
        scale = f"{row.processes} processes make {share:.0%} of {row.processes} times one"
        rest = row.busy_cores - row.service_cores - row.worker_cores - row.broker_cores
        parts = {
            "consumer processes": row.service_cores,
            "workers": row.worker_cores,
            "broker": row.broker_cores,
            "everything else": max(0.0, rest),
        }
        by_size = sorted(parts.items(), key=lambda part: -part[1])
        listed = ", ".join(f"{name} {cores:.2f}" for name, cores in by_size)
        what = "none of the cores' time, so waiting between processes and broker"
        if row.busy_cores >= _BUSY * row.cores:
            what = f"the {row.cores} cores of this machine"
        return f"{what} ({scale}; {row.busy_cores:.2f} of {row.cores} cores busy: {listed})"
    last = rows[-1]
    return (
        f"none up to {last.processes} processes, which make {efficiency(last, rows):.0%} of"
        f" {last.processes} times one with {last.busy_cores:.2f} of {last.cores} cores busy"
    )


def _first_short(rows: Sequence[Drained]) -> Drained | None:
    """Return the first fleet from which on none scales; a single low value is noise."""
    short = list(itertools.takewhile(lambda row: efficiency(row, rows) < _SCALES, reversed(rows)))
    return short[-1] if short else None


def figures(rows: Sequence[Drained], null: Null) -> dict[str, float]:
    """Return efficiency by size, CPU time per record, and the ratio of two processes to one."""
    named: dict[str, float] = {
        f"scale_efficiency_{row.processes}": efficiency(row, rows) for row in rows
    }
    # The largest fleet that scales, in which the broker's idle work has the lowest weight.
    large = [row for row in rows if efficiency(row, rows) >= _SCALES][-1]
    named["service_cpu_us_per_record"] = large.us_per_record(large.service_cores)
    named["worker_cpu_us_per_record"] = large.us_per_record(large.worker_cores)
    named["broker_cpu_us_per_record"] = large.us_per_record(large.broker_cores)
    named["cpu_measured_with_processes"] = large.processes
    named["one_process_texts_per_s"] = rows[0].records_per_s / rows[0].processes
    named["most_texts_per_s"] = max(row.records_per_s for row in rows)
    for name, by_size in null.items():
        rate = {
            size: statistics.median(run.records_per_s for run in runs)
            for size, runs in by_size.items()
        }
        named[f"{name}_two_over_one"] = rate[2] / rate[1]
        named |= {f"{name}_{size}_records_per_s": per_s for size, per_s in rate.items()}
    ones = null["null"][1]
    named["null_service_cpu_us_per_record"] = statistics.median(
        run.us_per_record(run.service_cores) for run in ones
    )
    named["null_broker_cpu_us_per_record"] = statistics.median(
        run.us_per_record(run.broker_cores) for run in ones
    )
    return named


def write(
    rows: Sequence[Drained], null: Null, times: EngineTimes, *, input_bytes: float, command: str
) -> None:
    """Write figures, page and plot."""
    named = figures(rows, null) | {
        "input_bytes_per_record": input_bytes,
        "output_bytes_per_record": rows[0].output_bytes,
    }
    bottleneck = first_bottleneck(rows)
    results_file.write(
        "scale",
        command=command,
        figures=named,
        page=_page(rows, named, times, bottleneck),
        details={
            "first_bottleneck": bottleneck,
            "rows": [asdict(row) for row in rows],
            "null": {
                f"{name}_{size}": [round(run.records_per_s) for run in runs]
                for name, by_size in null.items()
                for size, runs in by_size.items()
            },
        },
    )
    plot.lines(
        results_file.RESULTS / "scale.svg",
        "Sleeping model, 64 partitions, one broker, all on one machine",
        "processes",
        "texts/s",
        {
            "measured": [(row.processes, row.records_per_s) for row in rows],
            "n times one process": [
                (row.processes, row.processes * named["one_process_texts_per_s"]) for row in rows
            ],
        },
    )


def _page(
    rows: Sequence[Drained], named: Mapping[str, float], times: EngineTimes, bottleneck: str
) -> str:
    table = "".join(
        f"| {row.processes} | {row.records_per_s:,.0f} | {efficiency(row, rows):.2f}"
        f" | {row.busy_cores:.2f} | {row.us_per_record(row.service_cores):.0f}"
        f" | {row.us_per_record(row.worker_cores):.0f}"
        f" | {row.us_per_record(row.broker_cores):.0f} |\n"
        for row in rows
    )
    return (
        f"A model that sleeps {1e6 * times.streams / times.tokens_per_s:.0f} µs a padded token in"
        f" {times.streams} batches at a time, as MiniLM fp32 was measured to take here"
        f" ({times.tokens_per_s:,.0f} tokens/s alone). 64 partitions, heavy-tailed mix, processes,"
        " broker and benchmark on the same cores. A rate is what was published after the last"
        " input had been written. CPU time a record: of the consumer processes, of their workers"
        " (which only sleep), and of the broker (inputs written and read, outputs written, read by"
        " nobody).\n\n"
        "| processes | texts/s | of n times one | cores busy"
        " | consumer µs | worker µs | broker µs |\n"
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        f"{table}\n"
        "![texts/s over processes](scale.svg)\n\n"
        f"First bottleneck: {bottleneck}.\n\n"
        f"Without any model, {_null_line('null', 'service', named)};"
        f" {_null_line('bare', 'bare loop', named)} (4 partitions, medians). At full speed a"
        f" record costs one service process {named['null_service_cpu_us_per_record']:.0f} µs and"
        f" the broker {named['null_broker_cpu_us_per_record']:.0f} µs.\n"
    )


def _null_line(name: str, what: str, named: Mapping[str, float]) -> str:
    return (
        f"{what}: one process {named[f'{name}_1_records_per_s']:,.0f} records/s, two"
        f" {named[f'{name}_2_records_per_s']:,.0f}, {named[f'{name}_two_over_one']:.2f} times"
    )
