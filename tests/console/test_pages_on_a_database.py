"""The pages on a real database: what a person sends is what is stored, and what leaves."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from streamlabel.config.console import ConsoleSettings
from streamlabel.console.access.proxy import TrustedProxy
from streamlabel.console.access.sessions import Sessions
from streamlabel.console.access.signing_in import Access
from streamlabel.console.store.items import Arrival, User
from streamlabel.console.store.opening import SqlStore, open_store
from streamlabel.console.topics.decoding import decoded
from streamlabel.console.web.app import make_app
from streamlabel.console.web.options import PageOptions, TaskChoices
from streamlabel.consumer.core.records import Position, SourceRecord
from streamlabel.consumer.output.verdict import VerdictMessage, read_verdict
from testing.console.desk import RENDERER
from testing.console.review_record import review
from tests.console.pages import ORIGIN, inputs_of
from tests.console_items import NOW, arrival, filled

HEADER = "x-forwarded-user"
LABELS = TaskChoices(labels=("ham", "spam"))


@asynccontextmanager
async def console(
    folder: Path, *, multiple: bool = False, **settings: float
) -> AsyncIterator[tuple[SqlStore, httpx.ASGITransport]]:
    chosen = ConsoleSettings(
        database=str(folder / "console.db"), **{"second_look_share": 0, "gold_share": 0} | settings
    )
    store = await open_store(chosen)
    for name in () if await store.users() else ("ana", "ben", "cat"):
        await store.add_user(User(name=name, role="reviewer"), by="test", now=NOW)
    access = Access(
        store=store,
        sessions=Sessions("secret", secure=False),
        proxy=TrustedProxy.of(HEADER, ["127.0.0.1"]),
    )
    app = make_app(
        store,
        access,
        PageOptions(tasks={None: TaskChoices(labels=LABELS.labels, multiple=multiple)}),
        renderer=RENDERER,
        now=lambda: NOW,
        monotonic_s=lambda: 0.0,
    )
    try:
        yield store, httpx.ASGITransport(app)
    finally:
        await store.close()


async def decided(transport: httpx.ASGITransport, name: str, **form: str) -> httpx.Response:
    """Open the next item as a person does, and send a decision."""
    headers = {HEADER: name, "origin": ORIGIN}
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as browser:
        page = await browser.get("/review")
        lease = inputs_of(page.text).hidden["lease"]
        return await browser.post("/review", data={"lease": lease} | form)


async def verdicts(store: SqlStore) -> list[VerdictMessage]:
    messages = await store.take(limit=10, now=NOW + timedelta(minutes=1))
    return [read_verdict(each.value or b"") for each in messages]


@pytest.mark.parametrize("multiple", [False, True])
@pytest.mark.parametrize(("label", "action"), [("spam", "confirm"), ("ham", "correct")])
@pytest.mark.parametrize("purpose", ["review", "audit"])
async def test_a_label_is_stored_whether_the_model_said_the_same_or_not(
    purpose: str, label: str, action: str, multiple: bool, tmp_path: Path
) -> None:
    """Of a blind item, too: a refusal would tell the model's answer, and bias the audit."""
    async with console(tmp_path, multiple=multiple) as (store, transport):
        await filled(store, [arrival(1, purpose=purpose)])
        answer = await decided(transport, "ana", label=label)
        assert answer.status_code == 200, answer.text
        [verdict] = await verdicts(store)
    assert (verdict.action, verdict.labels) == (action, [label])
    assert verdict.saw_model_answer is (purpose == "review")


async def test_a_second_look_may_agree_and_a_known_answer_be_found(tmp_path: Path) -> None:
    async with console(tmp_path, second_look_share=1, undo_s=0) as (store, transport):
        await filled(store, [arrival(1)])
        assert (await decided(transport, "ana", label="spam")).status_code == 200
        assert (await decided(transport, "ben", label="spam")).status_code == 200
        first, second = await verdicts(store)
        assert (first.purpose, second.purpose) == ("review", "second_look")
        assert (second.action, second.saw_model_answer) == ("confirm", False)
    async with console(tmp_path, gold_share=1) as (store, transport):
        await store.add_gold(1, labels=["spam"], by="lea", now=NOW)
        await filled(store, [arrival(2)], first=1)
        assert (await decided(transport, "cat", label="spam")).status_code == 200
        gold = [each for each in await verdicts(store) if each.purpose == "gold"]
        assert [(each.action, each.labels) for each in gold] == [("confirm", ["spam"])]


async def test_a_wave_is_seen_and_decided_by_the_keys_that_its_records_bring(
    tmp_path: Path,
) -> None:
    texts = ["win a phone now", "win a phone NOW!", "win a phone today", "see you on Monday"]
    keys = [["k1", "k2"], ["k2", "k3"], ["k1"], ["k9"]]
    async with console(tmp_path) as (store, transport):
        settings = ConsoleSettings()
        found = [
            decoded(
                SourceRecord(
                    Position("review", 0, n), b"%d" % n, as_record(n, text, known), (), 0, 0.0
                ),
                settings,
            )
            for n, (text, known) in enumerate(zip(texts, keys, strict=True))
        ]
        arrivals = [each for each in found if isinstance(each, Arrival)]
        assert len(arrivals) == len(texts)
        await filled(store, arrivals)
        headers = {HEADER: "ana", "origin": ORIGIN}
        async with httpx.AsyncClient(
            transport=transport, base_url=ORIGIN, headers=headers
        ) as browser:
            page = await browser.get("/review")
            assert "Apply to all 3 texts like this one" in page.text
            assert "win a phone today" in page.text
            assert "see you on Monday" not in page.text
            form = {"lease": inputs_of(page.text).hidden["lease"], "label": "spam", "alike": "1"}
            page = await browser.post("/review", data=form)
            assert "Applied to 2 more." in page.text
            assert "see you on Monday" in page.text
        decisions = await verdicts(store)
    assert sorted(each.id for each in decisions) == ["r0", "r1", "r2"]
    assert {tuple(each.labels or ()) for each in decisions} == {("spam",)}


def as_record(number: int, text: str, keys: list[str]) -> bytes:
    source = {"topic": "texts", "partition": 0, "offset": number, "timestamp_ms": 100 + number}
    record = review(id=f"r{number}", text=text, source=source, near_duplicate_keys=keys)
    return json.dumps(record).encode()
