"""The review console: what kills cost, how fast the next item comes, and when a verdict is there.

``python -m benchmarks.review`` needs Kafka and PostgreSQL and takes about half an hour. ``--part``
runs one part and keeps the figures of the others: speed, delay or kills.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.results_file import RESULTS, write
from streamlabel.config.console import ConsoleSettings
from streamlabel.config.settings import Settings
from streamlabel.console.store.items import Decision
from streamlabel.console.store.opening import SqlStore, open_store
from streamlabel.console.topics.reading import sorted_out
from streamlabel.console.topics.sending import VerdictSender
from streamlabel.consumer.core.records import Position, SourceRecord, TopicPartition
from streamlabel.models.core.system_clock import SystemClock
from testing.kafka_broker import Cluster, LocalCluster
from testing.postgresql_server import PostgresqlServer
from testing.review_run import Plan, review_all, review_value, settings_of

OPEN_ITEMS = 100_000
ASKED = 500
VERDICTS = 500
DECISION = Decision("correct", ("spam",), duration_ms=1)
KILLS = Plan(items=10_000, reviewers=8, kills=20, restarts=2, limit_s=3600)
LIBRARIES = ("aiokafka", "aiosqlite", "psycopg", "SQLAlchemy", "uvicorn")


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile of values, by rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def fill(store: SqlStore, number: int) -> None:
    """Store so many open items, as if they had arrived from a topic."""
    partition = TopicPartition("review", 0)
    page = 1000
    for first in range(0, number, page):
        records = [
            SourceRecord(Position("review", 0, n), b"key", review_value(n), (), 0, 0.0)
            for n in range(first, first + page)
        ]
        arrivals, refused = sorted_out(records, ConsoleSettings())
        await store.arrive(
            arrivals, refused, begin={partition: first}, end={partition: first + page}, now=now()
        )


async def next_items_ms(database: str) -> list[float]:
    """Return how long each of ASKED next items took, with decisions between; milliseconds."""
    settings = ConsoleSettings(database=database, second_look_share=0, gold_share=0)
    store = await open_store(settings)
    try:
        await fill(store, OPEN_ITEMS)
        took = []
        for number in range(ASKED):
            began_s = time.perf_counter()
            found = await store.next_item(reviewer=f"r{number % 8}", tasks=None, now=now())
            took.append((time.perf_counter() - began_s) * 1000)
            if found is None:
                raise RuntimeError("no open item")
            await store.decide(found[1], DECISION, now=now())
        return took
    finally:
        await store.close()


async def delays_s(kafka: Cluster, database: str) -> list[float]:
    """Return how long each verdict took from its decision to the topic, without an undo time."""
    topic = await asyncio.to_thread(kafka.topic, "review")
    given = settings_of(kafka, topic, database, Plan(items=VERDICTS, reviewers=1, kills=0), 0)
    settings = Settings.model_validate(given)
    store = await open_store(settings.console)
    clock = SystemClock()
    sender = VerdictSender(
        settings, store, instance=store.instance, holder="benchmark", clock=clock
    )
    await fill(store, 1000)
    task = asyncio.create_task(sender.run())
    decided: dict[str, datetime] = {}
    try:
        await asyncio.sleep(5)  # until it has started
        while len(decided) < VERDICTS:
            found = await store.next_item(reviewer="ann", tasks=None, now=now())
            if found is None:
                raise RuntimeError("no open item")
            await store.decide(found[1], DECISION, now=now())
            decided[found[0].review_id] = now()
            await asyncio.sleep(0.02)
        async with asyncio.timeout(120):
            while (await store.counts(now=now())).outbox:  # noqa: ASYNC110 nothing tells us
                await asyncio.sleep(0.1)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.close()
    # the producer's timestamp of a record is when it was handed over for writing
    messages = await asyncio.to_thread(kafka.read, settings.output.verdicts_topic)
    return [
        each.timestamp()[1] / 1000 - decided[(each.key() or b"").decode()].timestamp()
        for each in messages
    ]


def speed() -> tuple[dict[str, float], dict[str, Any]]:
    """Measure the next item on both databases."""
    server = PostgresqlServer.start()
    found: dict[str, list[float]] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            found["sqlite"] = asyncio.run(next_items_ms(f"{folder}/console.db"))
        found["postgresql"] = asyncio.run(next_items_ms(server.database()))
    finally:
        server.close()
    figures = {f"next_item_p95_ms_{name}": percentile(took, 0.95) for name, took in found.items()}
    medians = {name: round(statistics.median(took), 2) for name, took in found.items()}
    return figures, {"next_item_median_ms": medians, "open_items": OPEN_ITEMS, "asked": ASKED}


def delay() -> tuple[dict[str, float], dict[str, Any]]:
    """Measure how long a verdict takes."""
    kafka = LocalCluster.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            took = asyncio.run(delays_s(kafka, f"{folder}/console.db"))
    finally:
        kafka.close()
    median = round(statistics.median(took), 3)
    return {"verdict_to_topic_p99_s": percentile(took, 0.99)}, {"verdict_to_topic_median_s": median}


def kills(plan: Plan) -> tuple[dict[str, float], dict[str, Any]]:
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
    return figures, {"kills": {name: asdict(each) for name, each in outcomes.items()}}


def _page(figures: Mapping[str, float]) -> str:
    limits = {
        "lost": 0,
        "decided_twice": 0,
        "stuck_leases": 0,
        "next_item_p95_ms_sqlite": 150,
        "next_item_p95_ms_postgresql": 100,
        "verdict_to_topic_p99_s": 1,
    }
    rows = [
        f"| `{name}` | {figures[name]:.4g} | {limit} |"
        for name, limit in limits.items()
        if name in figures
    ]
    head = "Store and topics of the review console, without its pages.\n\n"
    return (
        head + "| figure | measured | to reach, at most |\n| --- | --- | --- |\n" + "\n".join(rows)
    )


def main() -> None:
    """Run the parts and write the results."""
    parts = argparse.ArgumentParser(description=__doc__)
    parts.add_argument("--part", action="append", choices=("speed", "delay", "kills"))
    parts.add_argument("--items", type=int, default=KILLS.items, help="of the part kills")
    given = parts.parse_args()
    chosen = given.part or ["speed", "delay", "kills"]
    figures: dict[str, float] = {}
    details: dict[str, Any] = {}
    before = RESULTS / "review.json"
    if given.part and before.exists():
        stored = json.loads(Path(before).read_text())
        figures |= stored.pop("figures")
        kept = ("next_item_median_ms", "open_items", "asked", "verdict_to_topic_median_s", "kills")
        details |= {name: stored[name] for name in kept if name in stored}
    for name in chosen:
        if name == "speed":
            more, about = speed()
        elif name == "delay":
            more, about = delay()
        else:
            more, about = kills(replace(KILLS, items=given.items))
        figures |= more
        details |= about
    options = "".join(f" --part {name}" for name in given.part or ())
    write(
        "review",
        command=f"python -m benchmarks.review{options}",
        figures=figures,
        page=_page(figures),
        details=details,
        libraries=LIBRARIES,
    )


if __name__ == "__main__":
    main()
