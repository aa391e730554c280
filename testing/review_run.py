"""Scripted reviewers decide all items while their console is killed and the broker restarts.

The console is the real one, ``streamlabel console``; the reviewers use its pages by HTTP.
"""

import asyncio
import itertools
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select

from streamlabel.config.settings import Settings
from streamlabel.console.store.items import User
from streamlabel.console.store.opening import SqlStore, open_store
from streamlabel.console.store.tables import item, lease, outbox, verdict
from testing.console.page_reviewer import PROXY_SETTINGS, PageReviewer
from testing.console.review_record import review
from testing.kafka_broker import Cluster

__all__ = ["Outcome", "Plan", "review_all", "review_value"]

_TIMEOUT_S = 10.0
_GRACE_S = 5.0
_LABELS = ("spam", "ham")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is done.

    Attributes:
        kills: of the console, at equal distances of decided items.
        restarts: of the broker, likewise.
        limit_s: after which the run is given up.
    """

    items: int
    reviewers: int
    kills: int
    restarts: int = 0
    lease_s: float = 5.0
    limit_s: float = 1800.0


@dataclass(slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        lost: items without a verdict on the topic, or with another than was acknowledged.
        decided_twice: items with more than one verdict in the database.
        stuck_leases: that were not back 5 s after their end, although a console had been answering
            for 5 s. While all consoles are down nothing can give an item back.
        kills: that were made.
    """

    lost: int
    decided_twice: int
    stuck_leases: int
    kills: int
    restarts: int
    duration_s: float
    verdicts: int
    details: Mapping[str, Any] = field(default_factory=dict)


def review_value(number: int) -> bytes:
    """Return a review record."""
    label = _LABELS[number % 2]
    message = review(
        id=f"r{number}",
        label=label,
        source={
            "topic": "texts",
            "partition": 0,
            "offset": number,
            "timestamp_ms": 1_795_000_000_000 + number,
        },
        text=f"text number {number} of the run",
    )
    return json.dumps(message).encode()


def settings_of(kafka: Cluster, topic: str, database: str, plan: Plan, port: int) -> dict[str, Any]:
    """Return the settings of the console, as JSON."""
    return {
        "kafka": {
            "bootstrap_servers": kafka.bootstrap,
            "group_id": f"group-{topic}",
            "create_topics": True,
            "partitions": 1,
            "metadata_max_age_ms": 1000,
        },
        "model": {"backend": "encoder", "path": "not-loaded"},
        "output": {"review_topic": topic, "verdicts_topic": f"verdicts-{topic}"},
        "console": {
            "database": database,
            "port": port,
            "lease_s": plan.lease_s,
            "undo_s": 0,
            "labels": {"default": [*_LABELS, *(_label(n) for n in range(plan.reviewers))]},
            **PROXY_SETTINGS,
            "second_look_share": 0,
            "gold_share": 0,
        },
    }


def _label(number: int) -> str:
    """Return what one reviewer decides always, so that a verdict says whose it is."""
    return f"label {number}"


def _names(number: int) -> tuple[str, str]:
    """Return the two accounts that one reviewer uses in turn."""
    return f"reviewer {number}a", f"reviewer {number}b"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class _Console:
    """The process, which is killed and started again."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streamlabel", "console", "-c", str(self._file)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def end(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)


class _Run:
    def __init__(self, plan: Plan, url: str) -> None:
        self.plan = plan
        self.url = url
        self.acknowledged: dict[int, str] = {}
        self.is_over = False
        self.stuck: set[int] = set()
        self.up_since_s: float | None = None  # when the present console first answered

    async def reviewer(self, number: int) -> None:
        """Decide one item after the other; after an error come back as somebody else.

        So the item that was on the page is left behind under its lease.
        """
        names = itertools.cycle(_names(number))
        async with httpx.AsyncClient(base_url=self.url, timeout=_TIMEOUT_S) as client:
            while not self.is_over:
                try:
                    await self._decide_all(PageReviewer(client, next(names)), _label(number))
                except httpx.HTTPError:
                    await asyncio.sleep(0.1)

    async def _decide_all(self, person: PageReviewer, label: str) -> None:
        shown = None
        while not self.is_over:
            if shown is None:
                shown = await person.open()
                self.up_since_s = self.up_since_s or time.monotonic()
            if shown is None:
                await asyncio.sleep(0.1)
                continue
            is_saved, following = await person.decide(shown, label)
            if is_saved:
                self.acknowledged[shown.item_id] = label
            shown = following

    async def watch(self, store: SqlStore) -> None:
        """Note leases that are still there 5 s after their end."""
        while True:
            limit_ms = time.time_ns() // 1_000_000 - 5_000
            async with store.database.reading() as connection:
                query = select(lease.c.item_id).where(lease.c.until_ms < limit_ms)
                late = set((await connection.execute(query)).scalars())
            up_since_s = self.up_since_s
            if up_since_s is not None and time.monotonic() - up_since_s >= _GRACE_S:
                self.stuck |= late
            await asyncio.sleep(1.0)


async def review_all(
    plan: Plan, kafka: Cluster, database: str, *, restart: Callable[[], None] | None = None
) -> Outcome:
    """Run a plan on a database with empty tables.

    Args:
        plan: what to do.
        kafka: with room for two new topics.
        database: as ``console.database``.
        restart: restarts the broker; required by ``plan.restarts``.
    """
    began_s = time.monotonic()
    topic = await asyncio.to_thread(kafka.topic, "review")
    values = [review_value(number) for number in range(plan.items)]
    await asyncio.to_thread(kafka.produce, topic, values)
    port = _free_port()
    given = settings_of(kafka, topic, database, plan, port)
    run = _Run(plan, f"http://127.0.0.1:{port}")
    store = await open_store(Settings.model_validate(given).console)
    for number in range(plan.reviewers):
        for name in _names(number):
            await store.add_user(User(name=name), by="run", now=datetime.now(UTC))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "settings.json"
        await asyncio.to_thread(file.write_text, json.dumps(given))
        console = _Console(file)
        await asyncio.to_thread(console.start)
        tasks = [asyncio.create_task(run.reviewer(n)) for n in range(plan.reviewers)]
        tasks.append(asyncio.create_task(run.watch(store)))
        try:
            async with asyncio.timeout(plan.limit_s):
                done = await _disturbed(plan, run, store, console, restart)
        finally:
            run.is_over = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(console.end, signal.SIGTERM)
    outcome = await _compared(
        run, store, kafka, topic=f"verdicts-{topic}", done=done, began_s=began_s
    )
    await store.close()
    return outcome


async def _disturbed(
    plan: Plan,
    run: _Run,
    store: SqlStore,
    console: _Console,
    restart: Callable[[], None] | None,
) -> tuple[int, int]:
    """Kill and restart as planned, until all is decided and sent. Returns how often."""
    disturbances = sorted(
        [((n + 1) / (plan.kills + 1), "kill") for n in range(plan.kills)]
        + [((n + 1) / (plan.restarts + 1) + 0.01, "restart") for n in range(plan.restarts)]
    )
    kills = restarts = 0
    while True:
        decided, waiting = await _progress(store)
        if disturbances and decided >= disturbances[0][0] * plan.items * 0.98:
            _, what = disturbances.pop(0)
            if what == "kill":
                await asyncio.to_thread(console.end)
                run.up_since_s = None
                await asyncio.to_thread(console.start)
                kills += 1
            elif restart is not None:
                await asyncio.to_thread(restart)
                restarts += 1
        elif decided >= plan.items and not waiting and not disturbances:
            return kills, restarts
        await asyncio.sleep(0.2)


async def _progress(store: SqlStore) -> tuple[int, int]:
    async with store.database.reading() as connection:
        decided = select(func.count()).select_from(item).where(item.c.state == "decided")
        waiting = select(func.count()).select_from(outbox)
        return (
            (await connection.execute(decided)).scalar_one(),
            (await connection.execute(waiting)).scalar_one(),
        )


async def _compared(
    run: _Run, store: SqlStore, kafka: Cluster, *, topic: str, done: Sequence[int], began_s: float
) -> Outcome:
    found: dict[str, str] = {}
    for message in await asyncio.to_thread(kafka.read, topic):
        value = message.value()
        labels = json.loads(value)["labels"] if value is not None else [""]
        found[(message.key() or b"").decode()] = labels[0]
    async with store.database.reading() as connection:
        rows = (await connection.execute(select(verdict.c.item_id))).scalars().all()
        items = (await connection.execute(select(item.c.item_id, item.c.review_id))).all()
    reviews = {row.item_id: row.review_id for row in items}
    missing = [name for name in (f"r{n}" for n in range(run.plan.items)) if name not in found]
    changed = [
        reviews[item_id]
        for item_id, label in run.acknowledged.items()
        if found.get(reviews[item_id]) != label
    ]
    twice = sum(number > 1 for number in Counter(rows).values())
    return Outcome(
        lost=len({*missing, *changed}),
        decided_twice=twice,
        stuck_leases=len(run.stuck),
        kills=done[0],
        restarts=done[1],
        duration_s=time.monotonic() - began_s,
        verdicts=len(found),
        details={"acknowledged": len(run.acknowledged)},
    )
