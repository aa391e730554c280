"""Compares this checkout with another one: throughput of both services, interleaved in one run.

    python -m benchmarks.versions OTHER

OTHER is the folder of another checkout, with its own ``.venv`` (``make setup``). Both services
drain the same backlogs on one broker: the null model with at least once and exactly once
(``benchmarks.delivery``), and MiniLM in fp32 (``benchmarks.throughput``).
"""

import argparse
import statistics
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from benchmarks import results_file
from benchmarks.delivery import drain, null_service
from benchmarks.kafka_to_kafka import Contender, measure, service, warm_up
from testing import minilm, texts
from testing.kafka_broker import Cluster

_ROOT = Path(__file__).parents[1]
_GUARANTEES = ("at_least_once", "exactly_once")


def of_checkout(contender: Contender, checkout: Path, without: Sequence[str]) -> Contender:
    """Return the service of a checkout with the same settings, but those it does not know."""
    config = Path(contender.command[-1])
    settings = yaml.safe_load(config.read_text())
    kept = {section: value for section, value in settings.items() if section not in without}
    config.write_text(yaml.safe_dump(kept))
    program = checkout / ".venv" / "bin" / "streamlabel"
    return replace(contender, command=(str(program), "run", "-c", str(config)))


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=60_000, help="of a backlog, null model")
    parser.add_argument(
        "--without", nargs="*", default=(), help="sections of settings that OTHER does not know"
    )
    parser.add_argument("--only", choices=[*_GUARANTEES, "MiniLM"], action="append")
    options = parser.parse_args()
    wanted = options.only or [*_GUARANTEES, "MiniLM"]
    checkouts = {"before": (options.other, options.without), "after": (_ROOT, ())}
    rates: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = {"backend": "encoder", "path": str(minilm.save(folder / "minilm")), "device": "cpu"}
        mix = texts.heavy_tailed_mix()
        cluster = Cluster.open()
        try:
            warm_up(cluster)
            for number in range(options.rounds + 1):  # the first one warms up
                order = list(checkouts) if number % 2 else list(checkouts)[::-1]
                for guarantee in (each for each in _GUARANTEES if each in wanted):
                    for name in order:
                        made = null_service(
                            cluster, folder, f"{guarantee}{name}{number}", guarantee
                        )
                        made = of_checkout(made, *checkouts[name])
                        rate = drain(cluster, made, options.records).records_per_s
                        rates[guarantee][name].append(rate)
                for name in order if number and "MiniLM" in wanted else ():
                    made = service(cluster, folder, f"{name}{number}", {"model": model})
                    made = of_checkout(made, *checkouts[name])
                    rates["MiniLM"][name].append(measure(cluster, made, mix).texts_per_s)
        finally:
            cluster.close()
    for guarantee in (each for each in _GUARANTEES if each in wanted):
        rates[guarantee] = {name: of[1:] for name, of in rates[guarantee].items()}
    _write(options, rates)


def _write(options: argparse.Namespace, rates: dict[str, dict[str, list[float]]]) -> None:
    figures: dict[str, float] = {}
    rows = ""
    for what, of in rates.items():
        ratios = [after / before for after, before in zip(of["after"], of["before"], strict=True)]
        before, after = statistics.median(of["before"]), statistics.median(of["after"])
        figures[f"{what.lower()}_after_over_before"] = statistics.median(ratios)
        rows += (
            f"| {what} | {before:,.0f} | {after:,.0f} | {statistics.median(ratios):.3f} |"
            f" {min(ratios):.3f} to {max(ratios):.3f} |\n"
        )
    page = (
        f"Before: commit {_commit(options.other)}. After: commit {_commit(_ROOT)}. Null model,"
        f" {options.records:,} records, and MiniLM fp32 on the heavy-tailed mix; medians of"
        f" {options.rounds} rounds, before and after in turns.\n\n"
        "| | before, records/s | after | ratio, median of rounds | range |\n"
        f"| --- | ---: | ---: | ---: | ---: |\n{rows}"
    )
    results_file.write(
        "versions",
        command=_command(options),
        figures=figures,
        page=page,
        details={"runs": {what: dict(of) for what, of in rates.items()}},
    )


def _command(options: argparse.Namespace) -> str:
    """Return the command that was run, with OTHER for the folder of the other checkout."""
    only = [word for each in options.only or () for word in ("--only", each)]
    without = ["--without", *options.without] if options.without else []
    sizes = ["--rounds", str(options.rounds), "--records", str(options.records)]
    return " ".join(["python -m benchmarks.versions OTHER", *sizes, *only, *without])


def _commit(checkout: Path) -> str:
    command = ("git", "-C", str(checkout), "rev-parse", "--short=10", "HEAD")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
