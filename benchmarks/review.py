"""The review console: what kills cost, how fast pages and verdicts are, what texts do to a page.

``python -m benchmarks.review`` needs Kafka, PostgreSQL and Chromium. ``--part`` runs one part and
keeps the figures of the others: speed (2 min), delay (1 min), kills (20 min), pages (2 min).
"""

import argparse
import asyncio
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from benchmarks.results_file import RESULTS, write
from benchmarks.review_pages import pages
from benchmarks.review_speed import delay, speed
from testing.kafka_broker import LocalCluster
from testing.postgresql_server import PostgresqlServer
from testing.review_run import Plan, review_all

__all__ = ["LIMITS", "main"]

_OPEN_ITEMS: Final = 100_000
_ASKED: Final = 500
_KILLS: Final = Plan(items=10_000, reviewers=8, kills=20, restarts=2, limit_s=3600)
_LIBRARIES: Final = (
    "aiokafka",
    "aiosqlite",
    "axe-playwright-python",
    "playwright",
    "psycopg",
    "SQLAlchemy",
    "starlette",
    "uvicorn",
)
# Figure: largest value to reach; of a negative one, the smallest.
LIMITS: Final = {
    "lost": 0,
    "decided_twice": 0,
    "stuck_leases": 0,
    "next_item_p95_ms_sqlite": 150,
    "next_item_p95_ms_postgresql": 100,
    "verdict_to_topic_p99_s": 1,
    "decisions_per_minute": -60,
    "axe_serious": 0,
    "hostile_executed": 0,
}

Part = Callable[[], tuple[Mapping[str, float], Mapping[str, Any]]]


def kills(plan: Plan) -> tuple[Mapping[str, float], Mapping[str, Any]]:
    """Kill consoles on both databases; the figures are the worse of the two."""
    server = PostgresqlServer.start()
    outcomes = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            places = {"sqlite": f"{folder}/console.db", "postgresql": server.database()}
            for name, database in places.items():
                kafka = LocalCluster.start()

                def restart(kafka: LocalCluster = kafka) -> None:
                    kafka.kill()
                    kafka.start_node()
                    kafka.wait_ready()

                try:
                    outcomes[name] = asyncio.run(review_all(plan, kafka, database, restart=restart))
                finally:
                    kafka.close()
    finally:
        server.close()
    figures = {
        name: float(max(getattr(each, name) for each in outcomes.values()))
        for name in ("lost", "decided_twice", "stuck_leases")
    }
    rows = {name: asdict(each) for name, each in outcomes.items()}
    load = round(os.getloadavg()[0], 1)
    return figures, {"items": plan.items, "reviewers": plan.reviewers, "load_average": load, **rows}


def _page(figures: Mapping[str, float]) -> str:
    rows = [
        f"| `{name}` | {figures[name]:.4g} | {'>=' if limit < 0 else '<='} {abs(limit)} |"
        for name, limit in LIMITS.items()
        if name in figures
    ]
    return (
        "The next item is a whole page, newly leased, with 100,000 open items that are all alike."
        " Kills: SIGKILL of `streamlabel console` and of the broker while people decide.\n\n"
        "| figure | measured | to reach |\n| --- | --- | --- |\n" + "\n".join(rows)
    )


def main() -> None:
    """Run the parts and write the results."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--part", action="append", choices=("speed", "delay", "kills", "pages"))
    options.add_argument("--items", type=int, default=_KILLS.items, help="of the part kills")
    options.add_argument("--open-items", type=int, default=_OPEN_ITEMS, help="of the part speed")
    given = options.parse_args()
    parts: dict[str, Part] = {
        "speed": lambda: speed(items=given.open_items, asked=_ASKED),
        "delay": delay,
        "pages": pages,
        "kills": lambda: kills(replace(_KILLS, items=given.items)),
    }
    chosen = given.part or list(parts)
    figures: dict[str, float] = {}
    details: dict[str, Any] = {}
    before = RESULTS / "review.json"
    if before.exists():  # so that a part that fails takes nothing with it
        stored = json.loads(before.read_text())
        figures |= stored["figures"]
        details |= {name: stored[name] for name in parts if name in stored}
    for name in chosen:
        more, about = parts[name]()
        figures |= more
        details[name] = about
        write(
            "review",
            command="python -m benchmarks.review",
            figures={each: figures[each] for each in LIMITS if each in figures},
            page=_page(figures),
            details=details,
            libraries=_LIBRARIES,
        )


if __name__ == "__main__":
    main()
