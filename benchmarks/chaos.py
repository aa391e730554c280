"""The chaos table: each fault many times on a real Kafka; counts lost and duplicated records.

    python -m benchmarks.chaos                        everything, on one broker and on three
    python -m benchmarks.chaos --only service-killed  one fault; its rows in the table are replaced
    python -m benchmarks.chaos --resume rows that the stored table does not have yet

Runs mostly wait, so several runs with a fault in a process share a broker; those with a fault in
the broker follow one at a time. Rows are stored after each run, so that the benchmark can be
interrupted and resumed. Deliberately broken services run as negative controls, and must be
detected.
"""

import argparse
import itertools
import json
import random
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException

from benchmarks import results_file
from testing.chaos.place import Place
from testing.chaos.run import Delivery
from testing.chaos.scenarios import BOTH, CONTROLS, SCENARIOS, Row, Scenario, perform
from testing.kafka_broker import KafkaMissingError

_NAME = "chaos"
EVERY = {**SCENARIOS, **CONTROLS}
_CONTROLS = frozenset(scenario.name for scenario in CONTROLS.values())
_Due = tuple[Scenario, list[Delivery]]
_storing = threading.Lock()
_COLUMNS = ("records", "faults", "hits", "lost", "doubled", "out_of_order", "seconds_to_recover")


def stored() -> list[dict[str, Any]]:
    """Return the rows of the stored table, negative controls included."""
    path = results_file.RESULTS / f"{_NAME}.json"
    if not path.exists():
        return []
    table = json.loads(path.read_text())
    return [*table["rows"], *table["controls"]]


def as_stored(row: Row) -> dict[str, Any]:
    """Return a row for the table; a negative control passes when it is detected."""
    stored = row.as_dict()
    if row.fault in _CONTROLS:
        [control] = [each for each in CONTROLS.values() if each.name == row.fault]
        stored["passed"] = control.is_caught(row.problems)
    return stored


def store(new: Sequence[dict[str, Any]], command: str) -> None:
    """Put rows into the table; they replace older ones of the same fault and delivery."""
    found = {(row["fault"], row["delivery"]): row for row in [*stored(), *new]}
    names = [scenario.name for scenario in EVERY.values()]
    ordered = sorted(found.values(), key=lambda row: (names.index(row["fault"]), row["delivery"]))
    rows = [row for row in ordered if row["fault"] not in _CONTROLS]
    controls = [row for row in ordered if row["fault"] in _CONTROLS]
    exactly = [row for row in rows if row["delivery"] == "exactly_once"]
    figures = {
        "lost": sum(row["lost"] for row in rows),
        "exactly_once_doubled": sum(row["doubled"] for row in exactly),
        "out_of_order": sum(row["out_of_order"] for row in rows),
        "faults": sum(row["faults"] for row in rows),
        "hits": sum(row["hits"] for row in rows),
        "records": sum(row["records"] for row in rows),
        "rows": len(rows),
        "rows_failed": sum(not row["passed"] for row in rows),
        "controls_caught": sum(row["passed"] for row in controls),
    }
    page = _page(rows)
    if controls:
        page += "\n\nDeliberately broken services, which the same verifier must detect:\n\n"
        page += _table(controls)
    results_file.write(
        _NAME,
        command=command,
        figures=figures,
        page=page,
        details={"rows": rows, "controls": controls},
        libraries=("aiokafka", "confluent-kafka"),
    )


def _page(rows: Sequence[dict[str, Any]]) -> str:
    return (
        "Hits are faults that occurred with records in flight. The recovery time is the longest of"
        " all faults, from the end of a fault (a process is killed, a broker is restarted, the"
        " network is back) until all records that waited at its beginning are delivered. Records"
        " that at least once duplicated were in flight at a fault.\n\n"
    ) + _table(rows)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| fault | delivery | brokers | " + " | ".join(_COLUMNS).replace("_", " ") + " | |",
        "| --- | --- | ---: | " + " | ".join("---:" for _ in _COLUMNS) + " | --- |",
    ]
    for row in rows:
        cells = [str(row[name]) for name in ("fault", "delivery", "brokers", *_COLUMNS)]
        verdict = "caught" if row["fault"] in _CONTROLS else "ok"
        cells.append(verdict if row["passed"] else "FAILED")
        lines.append("| " + " | ".join(cells).replace("_", " ").replace("None", "") + " |")
    return "\n".join(lines)


def _groups(scenario: Scenario, deliveries: Sequence[Delivery]) -> Iterator[list[Delivery]]:
    """Deliveries that run together: all of them if the fault affects a broker that they share."""
    wanted = [delivery for delivery in scenario.deliveries if delivery in deliveries]
    if scenario.shakes_broker:
        yield wanted
    else:
        yield from ([delivery] for delivery in wanted)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=EVERY, metavar="FAULT")
    parser.add_argument("--delivery", action="append", choices=BOTH)
    parser.add_argument("--rounds", type=int, help="faults per row, default: the table's")
    parser.add_argument("--at-once", type=int, default=4, help="rows that run concurrently")
    parser.add_argument("--short", action="store_true", help="the numbers of the short form")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--resume", action="store_true", help="skip rows stored as passed")
    parser.add_argument("--keep", type=Path, help="folder for configurations and logs")
    parser.add_argument("--dry", action="store_true", help="print rows, store nothing")
    asked = parser.parse_args()
    kept = set() if asked.keep is None else {"--keep", str(asked.keep)}  # a path on this machine
    words = [word for word in sys.argv[1:] if word not in kept]
    asked.command = " ".join(["python -m benchmarks.chaos", *words])
    return asked


def _due(asked: argparse.Namespace) -> list[_Due]:
    """Return the runs to do, grouped by the number of brokers that they need."""
    chosen = [EVERY[name] for name in asked.only or EVERY]
    done = {(row["fault"], row["delivery"]) for row in stored() if row["passed"]}
    return [
        (scenario, group)
        for scenario in sorted(chosen, key=lambda each: each.brokers)
        for group in _groups(scenario, asked.delivery or BOTH)
        if not (asked.resume and all((scenario.name, each) in done for each in group))
    ]


def _perform(
    place: Place, scenario: Scenario, group: list[Delivery], asked: argparse.Namespace, folder: Path
) -> bool:
    """Run one and store its rows; return whether all of them pass."""
    try:
        rows = perform(
            scenario,
            place,
            group,
            seed=asked.seed,
            folder=folder,
            is_long=not asked.short,
            rounds=asked.rounds,
        )
    except (AssertionError, KafkaException, TimeoutError) as error:
        print(f"{scenario.name} ({', '.join(group)}): {error!r}", flush=True)
        return False  # continue with the others
    found = [as_stored(row) for row in rows]
    with _storing:
        for row in found:
            print(json.dumps(row), flush=True)
        if not asked.dry:
            store(found, asked.command)
    return all(row["passed"] for row in found)


def _perform_all(
    place: Place, due: Sequence[_Due], asked: argparse.Namespace, folder: Path
) -> bool:
    """Run faults in processes concurrently, then faults in the broker one at a time."""
    together = [each for each in due if not each[0].shakes_broker]
    alone = [each for each in due if each[0].shakes_broker]

    def run(each: _Due) -> bool:
        return _perform(place, each[0], each[1], asked, folder)

    with ThreadPoolExecutor(asked.at_once) as pool:
        passed = list(pool.map(run, together))
    return all([*passed, *map(run, alone)])


def main() -> None:
    """Run the requested rows and store them."""
    asked = _arguments()
    passed = True
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch)
        for brokers, due in itertools.groupby(_due(asked), lambda each: each[0].brokers):
            with Place.open(brokers=brokers) as place:
                passed = _perform_all(place, list(due), asked, folder) and passed
    raise SystemExit(not passed)


if __name__ == "__main__":
    try:
        main()
    except KafkaMissingError as error:
        raise SystemExit(str(error)) from error
