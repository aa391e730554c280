"""What running the service rests on: alerts, chart and traces, and what capacity and tracing say.

    python -m benchmarks.operate [--only alerts|capacity|chart|traces|tracing]

Parts that are not run keep their stored results, each with the commit that it was measured on.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import capacity_error, results_file, tracing_cost
from testing import alerts as rules
from testing.chart import VALUES, set_problems
from testing.kafka_broker import Cluster
from testing.three_hops import broken_parents, collecting, three_hops

_Part = Callable[[argparse.Namespace], tuple[dict[str, float], str, Mapping[str, Any]]]


def alerts(_asked: argparse.Namespace) -> tuple[dict[str, float], str, Mapping[str, Any]]:
    """Run both cases of each alert; an alert counts as tested if both pass."""
    promtool = rules.find_promtool()
    if promtool is None:
        raise SystemExit("promtool is not installed")
    said = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in rules.alerts():
            outcomes: tuple[rules.Outcome, ...] = ("fires", "quiet")
            said[name] = [
                rules.run_case(name, outcome, folder=Path(folder), promtool=promtool)
                for outcome in outcomes
            ]
    untested = sorted(name for name, problems in said.items() if any(problems))
    figures = {
        "alerts_tested": float(len(said) - len(untested)),
        "alerts_untested": float(len(untested)),
    }
    page = (
        f"## Alerts\n\n{len(said)} alerts, of which {len(untested)} do not fire or do not stay"
        " quiet in their cases (promtool).\n"
    )
    return figures, page, {"untested": untested}


def chart(_asked: argparse.Namespace) -> tuple[dict[str, float], str, Mapping[str, Any]]:
    """Lint, render and validate the chart with each set of values."""
    wrong = {path.stem: list(set_problems(path)) for path in VALUES}
    errors = sum(map(len, wrong.values()))
    page = (
        f"## Chart\n\n{errors} errors in {len(VALUES)} sets of values: strict lint, Kubernetes'"
        " schemas, schemas of the custom resources, Pod Security, digests, configuration. Nothing"
        " was installed in a cluster.\n"
    )
    return {"chart_errors": errors}, page, {"sets": wrong}


def traces(asked: argparse.Namespace) -> tuple[dict[str, float], str, Mapping[str, Any]]:
    """Send texts with a trace each through two services on a real Kafka."""
    kafka = Cluster.open()
    try:
        with tempfile.TemporaryDirectory() as folder, collecting() as collector:
            sent, last = three_hops(
                kafka, collector, texts=asked.texts, folder=Path(folder), timeout_s=900
            )
    finally:
        kafka.close()
    broken = broken_parents(collector.spans, sent, last)
    page = (
        f"## Traces\n\n{asked.texts} texts over producer, first and second service;"
        f" {len(broken)} traces are not one chain.\n"
    )
    return {"broken_parents": len(broken)}, page, {"texts": asked.texts, "broken": broken[:10]}


def tracing(asked: argparse.Namespace) -> tuple[dict[str, float], str, Mapping[str, Any]]:
    """Compare the service without tracing's code with tracing off, and with 1 % traced."""
    runs = tracing_cost.measure(records=asked.records, rounds=asked.rounds)
    rates = {name: [run.records_per_s for run in of] for name, of in runs.items()}
    cpu_us = {name: [run.cpu_us for run in of] for name, of in runs.items()}
    rows, figures = "", {}
    for name in runs:
        median, least, most = tracing_cost.ratio(rates, name)
        cpu, *_ = tracing_cost.ratio(cpu_us, name)
        if name != "before":
            figures[f"tracing_{name}"] = median
            figures[f"tracing_{name}_cpu_over_before"] = cpu
        rows += (
            f"| {name} | {statistics.median(rates[name]):,.0f} | {median:.3f} | {least:.3f} to"
            f" {most:.3f} | {statistics.median(cpu_us[name]):.1f} | {cpu:.3f} |\n"
        )
    page = (
        f"## What tracing costs\n\nNull model, at least once, {asked.records:,} records a run,"
        f" medians of {asked.rounds} rounds in turns. Before: the same code without tracing's lines"
        " in the pipeline. Processor time of a record: service and worker, from the first output"
        " on.\n\n| | records/s | over before | range | µs of processor time | over before |\n"
        f"| --- | ---: | ---: | ---: | ---: | ---: |\n{rows}"
    )
    details = {
        "records_per_s": {name: list(map(round, of)) for name, of in rates.items()},
        "cpu_us": {name: [round(each, 1) for each in of] for name, of in cpu_us.items()},
    }
    return figures, page, details


def capacity(asked: argparse.Namespace) -> tuple[dict[str, float], str, Mapping[str, Any]]:
    """Compare what ``streamlabel capacity`` predicts for four processes with what they make."""
    predicted, made = capacity_error.measure(seconds=asked.seconds)
    error = abs(predicted - made) / made
    page = (
        f"## Capacity\n\n`streamlabel capacity` predicts {predicted:,.0f} texts/s for"
        f" {capacity_error.PROCESSES} processes with a sleeping model; on a real Kafka they make"
        f" {made:,.0f}: {error:.1%} apart.\n"
    )
    details = {"predicted_texts_per_s": predicted, "measured_texts_per_s": made}
    return {"capacity_error": error}, page, details


_PARTS: Final[dict[str, _Part]] = {
    "alerts": alerts,
    "capacity": capacity,
    "chart": chart,
    "traces": traces,
    "tracing": tracing,
}


def main() -> None:
    """Run the parts and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=_PARTS)
    parser.add_argument("--texts", type=int, default=10_000, help="of traces")
    parser.add_argument("--records", type=int, default=120_000, help="of a backlog, tracing")
    parser.add_argument("--seconds", type=float, default=30.0, help="of capacity")
    parser.add_argument("--rounds", type=int, default=12, help="of tracing")
    asked = parser.parse_args()
    stored = results_file.RESULTS / "operate.json"
    parts: dict[str, Any] = json.loads(stored.read_text())["parts"] if stored.exists() else {}
    for name, part in _PARTS.items():
        if asked.only in {None, name}:
            figures, page, details = part(asked)
            parts[name] = {
                "figures": figures,
                "page": page,
                "details": details,
                "commit": _commit(),
                "date": datetime.now(UTC).date().isoformat(),
            }
    measured = "\n".join(
        f"- {name}: {part['date']}, commit {part['commit'][:10]}" for name, part in parts.items()
    )
    pages = "\n".join(part["page"] for part in parts.values())
    results_file.write(
        "operate",
        command="python -m benchmarks.operate",
        figures={k: v for part in parts.values() for k, v in part["figures"].items()},
        page=f"Measured:\n\n{measured}\n\n{pages}",
        details={"parts": parts},
        libraries=("helm-python-sdk", "kubernetes-validate", "opentelemetry-sdk", "aiokafka"),
    )


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
