"""Every alert is made to fire by the fault that it is about, and to resolve as the runbook says.

    python -m benchmarks.alerts                     all of them, about 15 minutes
    python -m benchmarks.alerts --only backlog      one story; the other alerts keep their results
    python -m benchmarks.alerts --at-once 2 --patience 4    on a busy machine

A real Prometheus has the rules as shipped and scrapes real services, a real console and a real
monitor on a real Kafka. Only durations of rules (``for``, windows, offsets) are divided, by the
number in the table; thresholds and the times of the service are real. The faults are real, too:
processes that are killed or stopped, topics that are deleted, texts that are wrong.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks import results_file
from testing import alerts as rules
from testing.alerting import load_stories, service_stories
from testing.alerting.broker_stories import brokers
from testing.alerting.learning_stories import learning
from testing.alerting.prometheus import Prometheus, divisor
from testing.alerting.stage import Attempt, Stage
from testing.kafka_broker import SHORT_LIVED, Cluster, KafkaMissingError, LocalCluster

__all__ = ["as_row", "figures_of", "page_of"]

_NAME: Final = "alerts"

# Those that can run beside each other, the longest first. ``ordinary`` begins before all others,
# because nothing may be scraped at its start, and ``brokers`` comes last, because it ends Kafka.
_BESIDE: Final[Mapping[str, Callable[[Stage], None]]] = {
    "stuck": load_stories.stuck,
    "backlog": load_stories.backlog,
    "learning": learning,
    "worker": service_stories.worker,
    "memory_and_files": load_stories.memory_and_files,
    "review_share": load_stories.review_share,
    "device_memory": load_stories.device_memory,
    "shadow": load_stories.shadow,
    "idle_member": service_stories.idle_member,
}
_STORIES: Final = ("ordinary", *_BESIDE, "brokers")

Row = dict[str, Any]
_storing = threading.Lock()


def as_row(attempt: Attempt) -> Row:
    """Return an attempt for the table; seconds are rounded to what the scrapes can show."""
    rule = rules.alerts()[attempt.alert]
    return {
        "severity": rule["labels"]["severity"],
        "divided_by": divisor(rule),
        "fault": attempt.fault,
        "remedy": attempt.remedy,
        "fired_s": None if attempt.fired_s is None else round(attempt.fired_s),
        "resolved_s": None if attempt.resolved_s is None else round(attempt.resolved_s),
        "problem": attempt.problem.partition("\n")[0][:200],
    }


def figures_of(rows: Mapping[str, Row], *, names: Sequence[str]) -> dict[str, float]:
    """Return how many alerts fired and were resolved, of those that there are."""
    of = [rows[name] for name in names if name in rows]
    return {
        "alerts": len(names),
        "alerts_fired": sum(row["fired_s"] is not None for row in of),
        "alerts_resolved": sum(row["resolved_s"] is not None for row in of),
        "alerts_not_caused": len(names) - sum(row["fired_s"] is not None for row in of),
    }


def page_of(rows: Mapping[str, Row], *, names: Sequence[str]) -> str:
    """Return the table."""
    lines = [
        "Each alert with the rule as shipped, whose durations (`for`, windows, offsets) are"
        " divided by the number in the second column (60: a minute is a second; 600: a day is 2.4"
        " minutes). Thresholds and the times of the service are not scaled. Fired: seconds from the"
        " fault until Prometheus showed the alert as firing. Resolved: seconds from the remedy"
        " until it showed it no longer.",
        "",
        "| alert | divided by | fault | fired after | remedy | resolved after | measured |",
        "| --- | ---: | --- | ---: | --- | ---: | --- |",
    ]
    for name in names:
        row = rows.get(name)
        if row is None:
            lines.append(f"| {name} | | not caused yet | | | | |")
            continue
        lines.append(
            f"| {name} | {row['divided_by']} | {row['fault']} | {_seconds(row['fired_s'])} |"
            f" {row['remedy']} | {_seconds(row['resolved_s'])} | {row['measured']},"
            f" {row['commit'][:10]} |"
        )
    return "\n".join([*lines, ""])


def _seconds(value: float | None) -> str:
    return "**no**" if value is None else f"{value:g} s"


def _stored() -> dict[str, Any]:
    path = results_file.RESULTS / f"{_NAME}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _store(stage: Stage) -> None:
    """Put what is over into the table; other alerts keep their rows."""
    names = list(rules.alerts())
    when = {
        "measured": datetime.now(UTC).date().isoformat(),
        "commit": results_file.commit(),
    }
    stored = _stored()
    rows = {
        **{name: row for name, row in stored.get("rows", {}).items() if name in names},
        **{each.alert: {**as_row(each), **when} for each in stage.attempts if each.is_over},
    }
    fired = {**stored.get("fired_by_job", {}), **stage.prometheus.fired()}
    results_file.write(
        _NAME,
        command="python -m benchmarks.alerts",
        figures=figures_of(rows, names=names),
        page=page_of(rows, names=names),
        details={"rows": rows, "fired_by_job": fired},
        libraries=("aiokafka", "confluent-kafka", "prometheus-client"),
    )


def _tell(name: str, story: Callable[[Stage], None], stage: Stage) -> None:
    """Perform a story; one that breaks off does not end the others."""
    try:
        story(stage)
    except Exception:  # noqa: BLE001 whatever it was, it is printed
        traceback.print_exc()
    with _storing:
        _store(stage)
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {name} is over\n")


def _perform(asked: argparse.Namespace, folder: Path) -> Stage:
    chosen = asked.only or _STORIES
    own = LocalCluster.start(java=SHORT_LIVED) if "brokers" in chosen else None
    cluster = own or Cluster.open()
    try:
        with Prometheus.running(folder) as prometheus:
            stage = Stage(cluster, prometheus, folder, patience=asked.patience)
            try:
                service = service_stories.absent(stage) if "ordinary" in chosen else None
                with ThreadPoolExecutor(asked.at_once) as pool:
                    if service is not None:
                        ordinary = partial(service_stories.ordinary, service=service)
                        pool.submit(_tell, "ordinary", ordinary, stage)
                    for name, story in _BESIDE.items():
                        if name in chosen:
                            pool.submit(_tell, name, story, stage)
                if own is not None:
                    _tell("brokers", partial(brokers, cluster=own), stage)
            finally:
                stage.close()
    finally:
        cluster.close()
    return stage


def main() -> None:
    """Perform the stories and store what became of the alerts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=_STORIES)
    parser.add_argument("--at-once", type=int, default=4, help="stories that run concurrently")
    parser.add_argument("--patience", type=float, default=1.0, help="multiplies all waits")
    parser.add_argument("--keep", type=Path, help="folder for configurations and logs")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        stage = _perform(asked, folder)
    raise SystemExit(any(each.resolved_s is None for each in stage.attempts))


if __name__ == "__main__":
    try:
        main()
    except KafkaMissingError as error:
        raise SystemExit(str(error)) from error
