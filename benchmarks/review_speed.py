"""How fast the next item comes with many open ones, and how soon a verdict is on the topic."""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from streamlabel.config.console import ConsoleSettings
from streamlabel.config.settings import Settings
from streamlabel.console.store.items import Decision, User
from streamlabel.console.store.opening import SqlStore, open_store
from streamlabel.console.topics.reading import sorted_out
from streamlabel.console.topics.sending import VerdictSender
from streamlabel.console.web.opening import create_app
from streamlabel.consumer.core.records import Position, SourceRecord, TopicPartition
from streamlabel.models.core.system_clock import SystemClock
from testing.console.page_reviewer import PROXY_SETTINGS, PageReviewer
from testing.kafka_broker import Cluster, LocalCluster
from testing.postgresql_server import PostgresqlServer
from testing.review_run import Plan, review_value, settings_of

__all__ = ["delay", "speed"]

_VERDICTS: Final = 500
_DECISION: Final = Decision("correct", ("spam",), duration_ms=1)


def _now() -> datetime:
    return datetime.now(UTC)


def _percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile of values, by rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def _fill(store: SqlStore, number: int) -> None:
    """Store so many open items, as if they had arrived from a topic.

    The worst kind: all texts differ in digits only, and all have one key.
    """
    partition = TopicPartition("review", 0)
    page = 1000
    for first in range(0, number, page):
        end = min(number, first + page)
        records = [
            SourceRecord(Position("review", 0, n), b"key", review_value(n), (), 0, 0.0)
            for n in range(first, end)
        ]
        arrivals, refused = sorted_out(records, ConsoleSettings())
        await store.arrive(
            arrivals, refused, begin={partition: first}, end={partition: end}, now=_now()
        )


@dataclass(slots=True)
class _Took:
    """Milliseconds.

    Attributes:
        next_ms: to answer with a page of the next item, newly leased.
        decided_ms: to answer a decision, with the page of the item after it.
    """

    next_ms: list[float] = field(default_factory=list)
    decided_ms: list[float] = field(default_factory=list)


async def _pages_took(database: str, *, items: int, asked: int) -> _Took:
    """Let people who hold nothing yet open the page, and decide."""
    given = {
        "kafka": {"bootstrap_servers": "not-used:9092", "group_id": "g"},
        "model": {"backend": "encoder", "path": "not-loaded"},
        "output": {"review_topic": "review"},
        "console": {"database": database, "second_look_share": 0, "gold_share": 0} | PROXY_SETTINGS,
    }
    settings = Settings.model_validate(given)
    store = await open_store(settings.console)
    took = _Took()
    try:
        await _fill(store, items)
        transport = httpx.ASGITransport(create_app(settings, store, clock=SystemClock()))
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            for number in range(asked):
                await store.add_user(User(name=f"r{number}"), by="benchmark", now=_now())
                person = PageReviewer(client, f"r{number}")
                began_s = time.perf_counter()
                shown = await person.open()
                took.next_ms.append((time.perf_counter() - began_s) * 1000)
                if shown is None:
                    raise RuntimeError("no item on the page")
                began_s = time.perf_counter()
                is_saved, _ = await person.decide(shown, "spam")
                took.decided_ms.append((time.perf_counter() - began_s) * 1000)
                if not is_saved:
                    raise RuntimeError("a decision was refused")
        return took
    finally:
        await store.close()


def speed(*, items: int, asked: int) -> tuple[Mapping[str, float], Mapping[str, Any]]:
    """Measure the pages on both databases."""
    server = PostgresqlServer.start()
    found: dict[str, _Took] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            place = f"{folder}/console.db"
            found["sqlite"] = asyncio.run(_pages_took(place, items=items, asked=asked))
        place = server.database()
        found["postgresql"] = asyncio.run(_pages_took(place, items=items, asked=asked))
    finally:
        server.close()
    figures = {
        f"next_item_p95_ms_{name}": _percentile(took.next_ms, 0.95) for name, took in found.items()
    }
    rows = {
        name: {
            "next_item_median_ms": round(statistics.median(took.next_ms), 1),
            "decision_and_next_median_ms": round(statistics.median(took.decided_ms), 1),
            "decision_and_next_p95_ms": round(_percentile(took.decided_ms, 0.95), 1),
        }
        for name, took in found.items()
    }
    load = round(os.getloadavg()[0], 1)
    return figures, {"open_items": items, "asked": asked, "load_average": load, **rows}


async def _delays_s(kafka: Cluster, database: str) -> list[float]:
    """Return how long each verdict took from its decision to the topic, without an undo time."""
    topic = await asyncio.to_thread(kafka.topic, "review")
    given = settings_of(kafka, topic, database, Plan(items=_VERDICTS, reviewers=1, kills=0), 0)
    settings = Settings.model_validate(given)
    store = await open_store(settings.console)
    clock = SystemClock()
    sender = VerdictSender(
        settings, store, instance=store.instance, holder="benchmark", clock=clock
    )
    await _fill(store, _VERDICTS)
    task = asyncio.create_task(sender.run())
    decided: dict[str, datetime] = {}
    try:
        await asyncio.sleep(5)  # until it has started
        while len(decided) < _VERDICTS:
            found = await store.next_item(reviewer="ann", tasks=None, now=_now())
            if found is None:
                raise RuntimeError("no open item")
            await store.decide(found[1], _DECISION, now=_now())
            decided[found[0].review_id] = _now()
            await asyncio.sleep(0.02)
        async with asyncio.timeout(120):
            while (await store.counts(now=_now())).outbox:  # noqa: ASYNC110 nothing tells us
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


def delay() -> tuple[Mapping[str, float], Mapping[str, Any]]:
    """Measure how long a verdict takes."""
    kafka = LocalCluster.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            took = asyncio.run(_delays_s(kafka, f"{folder}/console.db"))
    finally:
        kafka.close()
    load = round(os.getloadavg()[0], 1)
    median = round(statistics.median(took), 3)
    figures = {"verdict_to_topic_p99_s": _percentile(took, 0.99)}
    return figures, {"verdicts": len(took), "median_s": median, "load_average": load}
