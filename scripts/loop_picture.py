"""Draw docs/loop.png, the first picture in README: a review record, its page, the verdict.

Run it in .venv as ``python -m scripts.loop_picture``; it needs Chromium. The record is the example
of the schema, which a service wrote. It is stored, shown and decided by a key in the real page, and
the verdict is what then leaves the database for the topic.
"""

import base64
import json
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser
from starlette.applications import Starlette

from streamlabel.config.console import ConsoleSettings
from streamlabel.console.access.sessions import Sessions
from streamlabel.console.access.signing_in import Access
from streamlabel.console.store.items import User
from streamlabel.console.store.opening import open_store
from streamlabel.console.topics.decoding import decoded
from streamlabel.console.web.app import make_app
from streamlabel.console.web.options import PageOptions, TaskChoices
from streamlabel.console.web.rendering import load_renderer
from streamlabel.consumer.core.records import Position, SourceRecord, TopicPartition
from streamlabel.consumer.output.schemas import examples
from testing.console.browser import launched, served_while

ROOT = Path(__file__).parents[1]
RENDERER = load_renderer()
LABELS = ("ok", "spam", "scam", "harassment", "prohibited")
KEY = "4"
OF_REVIEW = ("schema", "id", "text", "label", "confidence", "threshold", "reasons")
OF_VERDICT = (
    "schema",
    "id",
    "action",
    "labels",
    "model_labels",
    "saw_model_answer",
    "review_probability",
)
PAGE = """<!doctype html><meta charset="utf-8"><style>
body { margin: 0; padding: 24px; width: 1460px; background: #fff; color: #1f2328; font: 15px/1.5 sans-serif; }
main { display: grid; grid-template-columns: 310px 1fr 310px; gap: 20px; align-items: center; }
h2 { font-size: 15px; margin: 0 0 8px; } h2 small { color: #59636e; font-weight: 400; }
pre { margin: 0; padding: 14px; background: #f6f8fa; border: 1px solid #d1d9e0; border-radius: 8px;
  font: 12.5px/1.55 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre-wrap; }
img { width: 100%%; border: 1px solid #d1d9e0; border-radius: 8px; display: block; }
</style><main>
<section><h2>1. The model is not sure <small>topic review</small></h2><pre>%(review)s</pre></section>
<section><h2>2. A reviewer decides, with one key</h2><img src="data:image/png;base64,%(page)s"></section>
<section><h2>3. The decision is an event <small>topic verdicts</small></h2><pre>%(verdict)s</pre></section>
</main>"""  # noqa: E501


def main() -> None:
    """Draw the picture."""
    [review] = examples("review")
    with launched() as browser, tempfile.TemporaryDirectory() as folder:
        page, verdict = _decided(browser, review, Path(folder))
        drawing = browser.new_page(viewport={"width": 1508, "height": 600}, device_scale_factor=1.5)
        parts = {"review": _shown(review, OF_REVIEW), "verdict": _shown(verdict, OF_VERDICT)}
        drawing.set_content(PAGE % {**parts, "page": page})
        drawing.locator("body").screenshot(path=ROOT / "docs" / "loop.png")


def _decided(
    browser: Browser, review: Mapping[str, Any], folder: Path
) -> tuple[str, dict[str, Any]]:
    """Return the page of a record as base64, and the verdict after the press of a key."""
    settings = ConsoleSettings(
        database=str(folder / "console.db"), second_look_share=0, gold_share=0
    )
    sessions = Sessions("a secret of a picture", secure=False)
    cookie: list[str] = []
    verdicts: list[dict[str, Any]] = []

    @asynccontextmanager
    async def opening() -> AsyncIterator[Starlette]:
        store = await open_store(settings)
        now = datetime.now(UTC)
        await store.add_user(User(name="ana", role="reviewer"), by="picture", now=now)
        record = SourceRecord(
            Position("review", 0, 0), None, json.dumps(review).encode(), (), 0, 0.0
        )
        partition = TopicPartition("review", 0)
        await store.arrive(
            [(record.position, decoded(record, settings))],  # type: ignore[list-item]  # an item
            [],
            begin={partition: 0},
            end={partition: 1},
            now=now,
        )
        user = await store.user("ana")
        cookie.append(sessions.begin(user or User(name="ana"), way="link"))
        yield make_app(
            store,
            Access(store=store, sessions=sessions),
            PageOptions(tasks={None: TaskChoices(labels=LABELS)}),
            renderer=RENDERER,
            now=lambda: datetime.now(UTC),
            monotonic_s=time.monotonic,
        )
        [message] = await store.take(limit=1, now=datetime.now(UTC) + timedelta(minutes=1))
        verdicts.append(json.loads(message.value or b""))
        await store.close()

    with served_while(opening) as address:
        while not cookie:  # opened in the thread that serves
            time.sleep(0.1)
        context = browser.new_context(viewport={"width": 900, "height": 560})
        context.add_cookies([{"name": sessions.cookie, "value": cookie[0], "url": address}])
        page = context.new_page()
        page.goto(f"{address}/review")
        picture = base64.b64encode(page.screenshot()).decode()
        page.keyboard.press(KEY)
        page.locator("[data-undo]").wait_for()
    return picture, verdicts[0]


def _shown(record: Mapping[str, Any], names: tuple[str, ...]) -> str:
    shown = {name: record[name] for name in names}
    if "confidence" in shown:
        shown["confidence"] = round(shown["confidence"], 4)
    text = json.dumps(shown, indent=2, ensure_ascii=False)
    return escape(text.replace("[\n    ", "[").replace("\n  ]", "]"))


if __name__ == "__main__":
    main()
