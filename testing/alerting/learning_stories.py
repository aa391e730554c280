"""Alerts about the target error: a service, the review console, its reviewers and the monitor."""

import asyncio
import itertools
import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
from sqlalchemy import select

from streamlabel.config.settings import Settings
from streamlabel.console.store.items import User
from streamlabel.console.store.opening import open_store
from streamlabel.console.store.tables import item
from testing.alerting.service_stories import reload
from testing.alerting.stage import Service, Stage, is_sure, label_of, text_value, texts
from testing.chaos.processes import RUN
from testing.console.page_reviewer import PROXY_SETTINGS, PageReviewer

__all__ = ["learning"]

_KEY: Final = "a secret of the group that learns"
_LABELS: Final = ("a", "b", "c")
_ITEMS: Final = 1500
_LONG: Final = 300  # characters; ordinary texts have about 20
_IDLE: Final = 8  # half seconds without an item: nothing is left


def learning(stage: Stage) -> None:
    """Leave audits undecided, then decide them against the model, then let texts change."""
    control = stage.kafka.topic("control", cleanup_policy="compact")
    service = stage.service(
        "learning",
        routing={"audit_share": 0.1},
        audit={"key": _KEY},
        control={"topic": control, "key": _KEY},
        drift={"window_items": 100},
    )
    service.settings["routing"].pop("threshold")
    _calibrate(service, stage.folder / "calibration.yaml")
    service.start()
    console = _console(stage, service)
    console.start()
    feeder = stage.feeder(service, rate_s=10)
    feeder.start()
    monitor = stage.program(
        "monitor",
        service.settings,
        command=(
            *RUN[:-1], "monitor", "--topic", console.settings["output"]["verdicts_topic"],
            "--follow", "--tighten", "deploy",
        ),
    )  # fmt: skip
    monitor.start()
    with stage.alert(
        "StreamlabelAuditsOverdue",
        console.job,
        fault="Audits wait in the console for longer than console.audit_overdue_h (7 s here).",
        remedy="A reviewer decides them.",
    ) as alert:
        alert.now()
        alert.fires()
        feeder.rate_s = 0
        decided = _decide(console, right=True, until=None, within_s=120 * stage.patience)
        assert decided, "there was nothing to decide"
        alert.resolves()
    with stage.alert(
        "StreamlabelTargetError",
        monitor.job,
        fault="Reviewers find that accepted labels are wrong.",
        remedy="monitor --tighten deploy takes stricter thresholds; audits under them are decided.",
    ) as alert:
        feeder.rate_s = 10
        alert.now()
        _decide(
            console,
            right=False,
            until=lambda: stage.prometheus.firing("StreamlabelTargetError", monitor.job),
            within_s=120 * stage.patience,
        )
        alert.fires(within_s=30)
        stage.wait(lambda: service.process.said("deployment_active") > 0, what="they are deployed")
        _decide(
            console,
            right=True,
            until=lambda: not stage.prometheus.firing("StreamlabelTargetError", monitor.job),
            within_s=120 * stage.patience,
        )
        alert.resolves(within_s=30)
    monitor.leave()
    console.leave()
    with stage.alert(
        "StreamlabelDrift",
        service.job,
        fault="Texts come that are 15 times as long as those of the calibration.",
        remedy="Recent texts are labelled, calibrate is run, and its file is used (SIGHUP).",
    ) as alert:
        feeder.rate_s = 20
        alert.now()
        feeder.values = map(text_value, texts(length=_LONG))
        alert.fires()
        _calibrate(service, stage.folder / "calibration-long.yaml", length=_LONG)
        reload(service)
        alert.now()
        alert.resolves()
    feeder.stop()
    service.leave()


def _calibrate(service: Service, out: Path, *, length: int = 0) -> None:
    """Run ``streamlabel calibrate`` on labelled texts, and use its file from then on."""
    data = service.folder / f"labelled-{length}.jsonl"
    lines = []
    for number, text in enumerate(itertools.islice(texts(length=length), _ITEMS)):
        is_wrong = number % 2 == 0 and not is_sure(text, above=0.65)
        label = _other(label_of(text)) if is_wrong else label_of(text)
        lines.append(json.dumps({"text": text, "label": label}) + "\n")
    data.write_text("".join(lines))
    before = service.settings["routing"]
    service.settings["routing"] = {"audit_share": before["audit_share"]}
    service.write()
    done = subprocess.run(
        [
            *RUN[:-1], "calibrate", "-c", str(service.config), "--data", str(data),
            "--target-error", "0.05", "-o", str(out),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1000:]
    service.settings["routing"] = {"audit_share": before["audit_share"], "calibration": str(out)}


def _other(label: str) -> str:
    return _LABELS[(_LABELS.index(label) + 1) % len(_LABELS)]


def _console(stage: Stage, service: Service) -> Service:
    """Return the console of a service's reviews, with one reviewer."""
    review = service.settings["output"]["review_topic"]
    verdicts = stage.kafka.topic("verdicts", cleanup_policy="compact")
    settings: dict[str, Any] = {
        "kafka": {
            "bootstrap_servers": stage.kafka.bootstrap,
            "group_id": f"{review}-console",
            "create_topics": True,
            "partitions": 1,
            "metadata_max_age_ms": 1000,
        },
        "model": {"backend": "encoder", "path": "not-loaded"},
        "output": {"review_topic": review, "verdicts_topic": verdicts},
        "console": {
            "database": str(stage.folder / "console.db"),
            "undo_s": 0,
            "labels": {"default": list(_LABELS)},
            "second_look_share": 0,
            "gold_share": 0,
            "audit_overdue_h": 0.002,
            **PROXY_SETTINGS,
        },
    }
    console = stage.program("console", settings, command=(*RUN[:-1], "console"))
    pages = stage.program("pages", {})  # for a port of its own
    console.settings["console"] = {
        **console.settings["console"],
        "metrics_port": console.port,
        "port": pages.port,
    }

    async def add_reviewer() -> None:
        store = await open_store(Settings.model_validate(console.settings).console)
        await store.add_user(User(name="reviewer"), by="run", now=datetime.now(UTC))
        await store.close()

    asyncio.run(add_reviewer())
    return console


def _decide(
    console: Service, *, right: bool, until: Callable[[], bool] | None, within_s: float
) -> int:
    """Decide items over the console's pages.

    Args:
        console: which runs.
        right: as the model did; else another label.
        until: claim at which to end; None: when nothing is left to decide for some seconds.
        within_s: end at the latest then.

    Returns:
        How many were decided.
    """
    return asyncio.run(_decide_all(console, right=right, until=until, within_s=within_s))


async def _decide_all(
    console: Service, *, right: bool, until: Callable[[], bool] | None, within_s: float
) -> int:
    settings = Settings.model_validate(console.settings).console
    store = await open_store(settings)
    decided, idle, loop = 0, 0, asyncio.get_running_loop()
    ends_s = loop.time() + within_s
    url = f"http://127.0.0.1:{settings.port}"
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        person = PageReviewer(client, "reviewer")
        while loop.time() < ends_s:
            if until is None and idle > _IDLE:
                break
            if until is not None and await asyncio.to_thread(until):
                break
            try:
                shown = await person.open()
            except httpx.HTTPError:  # it has not started yet, or the machine is busy
                shown = None
            if shown is None:
                idle += 1
                await asyncio.sleep(0.5)
                continue
            idle = 0
            async with store.database.reading() as connection:
                query = select(item.c.model_labels).where(item.c.item_id == shown.item_id)
                [label] = (await connection.execute(query)).scalar_one()
            saved, _ = await person.decide(shown, label if right else _other(label))
            decided += saved
    await store.close()
    return decided
