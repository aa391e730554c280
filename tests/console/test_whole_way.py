"""The whole way with real parts: Kafka, review topic, database, page, key press, verdict topic."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from starlette.applications import Starlette

from streamlabel.config.settings import Settings
from streamlabel.console.store.opening import open_store
from streamlabel.console.topics.reading import ReviewReader
from streamlabel.console.topics.sending import VerdictSender
from streamlabel.console.web.opening import create_app
from streamlabel.consumer.output.verdict import VerdictMessage, read_verdict
from streamlabel.models.core.system_clock import SystemClock
from testing.console.browser import served_while
from testing.console.desk import RENDERER
from testing.console.review_record import review
from testing.kafka_broker import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

CLOCK = SystemClock()
PATIENCE_S = 60.0


def settings_of(kafka: Cluster, folder: Path) -> Settings:
    topic = kafka.topic("review")
    return Settings.model_validate(
        {
            "kafka": {
                "bootstrap_servers": kafka.bootstrap,
                "group_id": f"group-{topic}",
                "create_topics": True,
                "metadata_max_age_ms": 500,
            },
            "model": {"backend": "encoder", "path": "not-loaded"},
            "output": {"review_topic": topic, "verdicts_topic": f"verdicts-{topic}"},
            "console": {
                "database": str(folder / "console.db"),
                "undo_s": 1,
                "second_look_share": 0,
                "gold_share": 0,
                "labels": {"default": ["ham", "spam"]},
            },
        }
    )


def a_review(number: int, **changed: object) -> bytes:
    source = {"topic": "texts", "partition": 0, "offset": number, "timestamp_ms": 9}
    record = review(id=f"r{number}", source=source, text=f"text {number}")
    return json.dumps(record | changed).encode()


def verdicts_in(kafka: Cluster, topic: str, *, at_least: int) -> list[VerdictMessage]:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        found = [read_verdict(each.value() or b"") for each in kafka.read(topic)]
        if len(found) >= at_least or time.monotonic() > deadline_s:
            return found
        time.sleep(0.2)


def test_a_review_is_decided_by_a_key_and_becomes_a_verdict(
    browser: Browser, kafka: Cluster, tmp_path: Path
) -> None:
    settings = settings_of(kafka, tmp_path)
    kafka.produce(settings.output.review_topic, [a_review(number) for number in range(3)])
    said: list[str] = []

    @asynccontextmanager
    async def console() -> AsyncIterator[Starlette]:
        store = await open_store(settings.console)
        reader = ReviewReader(settings, store, holder="a", clock=CLOCK)
        sender = VerdictSender(settings, store, instance=store.instance, holder="a", clock=CLOCK)
        loops = [asyncio.create_task(each.run()) for each in (reader, sender)]
        try:
            yield create_app(settings, store, clock=CLOCK, renderer=RENDERER, say=said.append)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await store.close()

    with served_while(console) as address:
        page = browser.new_page()
        page.goto(f"{address}/readyz", timeout=PATIENCE_S * 1000)
        page.goto(f"{address}/enter/{said[0].rpartition('/')[2]}")
        text = page.locator(".text")
        deadline_s = time.monotonic() + PATIENCE_S
        while not text.count() and time.monotonic() < deadline_s:
            page.wait_for_timeout(300)
            page.goto(f"{address}/review")
        shown = []
        for key in ("1", "Enter", "u"):  # ham; the model's answer, spam; unsure
            shown.append(text.inner_text())
            page.keyboard.press(key)
            page.locator("main:not([aria-busy])").wait_for(state="attached")
        expect(page.locator(".calm")).to_contain_text("Nothing waits for you")
        page.goto(f"{address}/lead")
        expect(page.locator("#live")).to_have_text("Live")
        found = verdicts_in(kafka, settings.output.verdicts_topic, at_least=3)
        page.close()
    assert sorted(shown) == ["text 0", "text 1", "text 2"]
    by_id = {f"text {each.id[1:]}": each for each in found}
    decided = [by_id[each] for each in shown]
    assert [(each.action, each.labels) for each in decided] == [
        ("correct", ["ham"]),
        ("confirm", ["spam"]),
        ("unsure", None),
    ]
    for each in found:
        assert each.saw_model_answer
        assert each.reasons == ["low_confidence"]
        assert each.deployment_id == "d1"
        assert each.source is not None
        assert "local" not in each.reviewer  # a pseudonym
        assert each.duration_ms is not None
