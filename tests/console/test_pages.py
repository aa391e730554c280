"""The pages over HTTP: who sees what, what is stored, and what every refusal keeps."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from streamlabel.console.access.one_time_link import OneTimeLink
from streamlabel.console.access.proxy import TrustedProxy
from streamlabel.console.store.items import AlikeItems, Item, Purpose, Role
from streamlabel.console.web.guard import CONTENT_SECURITY_POLICY
from streamlabel.console.web.options import PageOptions, TaskChoices
from testing.console.memory_store import BEGIN, an_item
from tests.console.pages import Console, inputs_of, opened
from tests.unit.learning.test_learning import traffic, two_labels

SPAM = TaskChoices(labels=("other", "spam", "threat"))
OPTIONS = PageOptions(tasks={None: SPAM})


async def decided(
    console: Console, name: str, **form: str | list[str]
) -> tuple[int, str, Mapping[str, str]]:
    """Open the next item, send a decision; return status, page and headers."""
    async with console.client(name) as browser:
        page = await browser.get("/review")
        fields = inputs_of(page.text).hidden
        answer = await browser.post("/review", data={"lease": fields["lease"]} | form)
        return answer.status_code, answer.text, answer.headers


@pytest.mark.parametrize(
    ("form", "action", "labels"),
    [
        ({"label": "spam"}, "confirm", None),
        ({"label": "threat"}, "correct", ("threat",)),
        ({"action": "confirm"}, "confirm", None),
        ({"action": "unsure"}, "unsure", None),
        ({"action": "skip"}, "skip", None),
        ({"action": "escalate", "note": "is this legal?"}, "escalate", None),
    ],
)
async def test_a_decision_is_stored_and_the_next_item_shown(
    form: dict[str, str], action: str, labels: tuple[str, ...] | None
) -> None:
    async with opened(an_item(1), an_item(2, "the second text"), options=OPTIONS) as console:
        status, page, _ = await decided(console, "ana", **form)
        assert status == 200
        assert "the second text" in page
        [(who, item, decision)] = console.store.decided
        assert (who, item) == ("ana", 1)
        assert (decision.action, decision.labels) == (action, labels)
        assert decision.saw_model_answer is True
        assert decision.note == form.get("note")


async def test_several_labels_or_none_can_be_right() -> None:
    options = PageOptions(tasks={None: replace(SPAM, multiple=True)})
    items = [an_item(number, f"text {number}") for number in (1, 2, 3)]
    async with opened(*items, options=options) as console:
        await decided(console, "ana", action="labels", label=["spam", "threat"])
        await decided(console, "ana", action="labels")
        await decided(console, "ana", action="labels", label="spam")
        made = [(each.action, each.labels) for *_, each in console.store.decided]
        assert made == [("correct", ("spam", "threat")), ("correct", ()), ("confirm", None)]


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ({"label": "no such label"}, "not of this task"),
        ({}, "choose one label"),
        ({"label": ["spam", "other"]}, "choose one label"),
        ({"action": "escalate"}, "needs a note"),
        ({"action": "escalate", "note": "  "}, "needs a note"),
    ],
)
async def test_a_form_that_does_not_fit_is_refused_and_stores_nothing(
    form: dict[str, str], why: str
) -> None:
    async with opened(an_item(1), options=OPTIONS) as console:
        status, page, _ = await decided(console, "ana", **form)
        assert status == 409
        assert why in page
        assert console.store.decided == []


async def test_a_stale_form_is_refused_with_the_note_kept() -> None:
    async with opened(an_item(1), options=OPTIONS) as console, console.client("ana") as browser:
        first = inputs_of((await browser.get("/review")).text).hidden["lease"]
        await browser.get("/review")  # another tab takes the lease
        answer = await browser.post(
            "/review", data={"lease": first, "label": "spam", "note": "what I had typed"}
        )
        assert answer.status_code == 409
        assert "what I had typed" in answer.text
        assert "Nothing was saved" in answer.text
        assert console.store.decided == []


async def test_the_lease_of_another_person_is_refused() -> None:
    async with opened(an_item(1), options=OPTIONS) as console:
        async with console.client("ana") as browser:
            lease = inputs_of((await browser.get("/review")).text).hidden["lease"]
        async with console.client("ben") as browser:
            for path in ("/review", "/lease"):
                answer = await browser.post(path, data={"lease": lease, "label": "spam"})
                assert answer.status_code == 409
        assert console.store.decided == []


async def test_a_heartbeat_renews_and_a_stale_one_is_told() -> None:
    async with opened(an_item(1), options=OPTIONS) as console, console.client("ana") as browser:
        lease = inputs_of((await browser.get("/review")).text).hidden["lease"]
        assert (await browser.post("/lease", data={"lease": lease})).status_code == 204
        await browser.get("/review")
        assert (await browser.post("/lease", data={"lease": lease})).status_code == 409
        assert (await browser.post("/lease", data={"lease": "x"})).status_code == 409


async def test_an_item_that_was_erased_meanwhile_is_told() -> None:
    async with opened(an_item(1), options=OPTIONS) as console, console.client("ana") as browser:
        lease = inputs_of((await browser.get("/review")).text).hidden["lease"]
        console.store.items[1] = replace(console.store.items[1], text=None, state="purged")
        answer = await browser.post("/review", data={"lease": lease, "label": "spam"})
        assert answer.status_code == 409
        assert "decided or erased meanwhile" in answer.text


async def test_undo_brings_the_item_back_and_releases_the_next_one() -> None:
    items = (an_item(1, "first text"), an_item(2, "second text"))
    async with opened(*items, options=OPTIONS) as console, console.client("ana") as browser:
        lease = inputs_of((await browser.get("/review")).text).hidden["lease"]
        page = await browser.post("/review", data={"lease": lease, "label": "threat"})
        assert "Saved: threat." in page.text
        fields = inputs_of(page.text).hidden
        assert fields["item"] == "1"
        page = await browser.post("/undo", data=fields)
        assert "first text" in page.text
        assert console.store.decided == []
        assert console.store.released == [2]
        again = inputs_of(page.text).hidden["lease"]
        await browser.post("/review", data={"lease": again, "label": "spam"})
        assert console.store.decided[0][2].action == "confirm"


async def test_an_undo_that_comes_too_late_says_so_and_goes_on() -> None:
    async with opened(an_item(1), options=OPTIONS) as console, console.client("ana") as browser:
        page = await browser.post("/undo", data={"item": "7", "lease": ""})
        assert page.status_code == 200
        assert "cannot be taken back" in page.text
        assert "a text" in page.text


async def test_texts_that_are_alike_are_decided_together_when_asked() -> None:
    items = [an_item(number, "buy now") for number in range(1, 5)] + [an_item(9, "another")]
    async with opened(*items, options=OPTIONS) as console:
        _, page, _ = await decided(console, "ana", label="spam", alike="1")
        assert [item for _, item, _ in console.store.decided] == [1, 2, 3, 4]
        assert "Applied to 3 more." in page


# On the wire, these say what the model thought.
SIGNS = (
    "61 %",
    "veiled",
    "0.61",
    ' short"',
    " checked",
    "low_confidence",
    "not sure enough",
    "Confirm",
)


async def test_the_texts_of_a_wave_can_be_seen_before_they_are_decided_together() -> None:
    one, same = an_item(1, "win <b>now</b>"), an_item(2, "win <b>now</b>")
    async with opened(one, same, options=OPTIONS) as console, console.client("ana") as browser:
        alone = (await browser.get("/review")).text
        assert "Apply to all 2 texts like this one" in alone
        assert "Show texts that differ" not in alone  # there is nothing more to see

        async def alike(item: Item, *, limit: int) -> AlikeItems:
            return AlikeItems(
                (2,), texts=("win <b>now</b>", "Win <b>today</b>", "Win <b>today</b>")
            )

        console.store.alike = alike  # type: ignore[method-assign]
        page = (await browser.get("/review")).text
        assert "Show texts that differ from this one" in page
        assert page.count("Win &lt;b&gt;today&lt;/b&gt;") == 1


@pytest.mark.parametrize("purpose", ["audit", "gold", "second_look"])
async def test_a_blind_item_is_sent_without_any_sign_of_the_answer(purpose: Purpose) -> None:
    blind = an_item(1, "the text", purpose=purpose, labels=None, reasons=("low_confidence",))
    twin = an_item(2, "the text", state="decided", labels=("threat",), record_id="r-1", key=b"k")
    for multiple in (False, True):
        options = PageOptions(tasks={None: replace(SPAM, multiple=multiple)})
        async with opened(replace(blind, key=b"k"), twin, options=options) as console:
            async with console.client("ben") as browser:
                page = (await browser.get("/review")).text
            start = page.index("<main")
            main = page[start : page.index("</main>")]
            assert [sign for sign in SIGNS if sign in main] == []
            assert multiple or 'data-key="Enter"' not in main
            # every label once, in the order of the keys, and nothing else differs between them
            assert [main.count(f'value="{label}"') for label in SPAM.labels] == [1, 1, 1]
            places = [main.index(f'value="{label}"') for label in SPAM.labels]
            assert places == sorted(places)
            assert f"purpose {purpose}" not in main
            form = {"action": "labels"} if multiple else {}
            await decided(console, "ben", label="spam", **form)
            assert console.store.decided[0][2].saw_model_answer is False


@pytest.mark.parametrize("purpose", ["audit", "gold", "second_look"])
async def test_two_blind_items_with_opposite_answers_are_the_same_page(purpose: Purpose) -> None:
    pages = []
    for answer in ("spam", "threat"):
        odds = {label: 0.9 if label == answer else 0.05 for label in ("threat", "other", "spam")}
        item = an_item(
            1, purpose=purpose, model_labels=(answer,), probabilities=odds, prediction_set=(answer,)
        )
        options = PageOptions(signature_secret="x", severe=frozenset({"threat"}))
        async with opened(item, options=options) as console, console.client("ana") as browser:
            pages.append((await browser.get("/review")).text)
    assert pages[0] == pages[1]


async def test_confirming_a_blind_item_is_refused() -> None:
    async with opened(an_item(1, purpose="gold"), options=OPTIONS) as console:
        status, page, _ = await decided(console, "ana", action="confirm")
        assert status == 409
        assert "no answer of the model to confirm" in page


async def test_the_short_list_is_first_and_every_label_keeps_its_key() -> None:
    item = an_item(1, prediction_set=("threat", "other"))
    async with opened(item, options=OPTIONS) as console, console.client("ana") as browser:
        page = (await browser.get("/review")).text
        keys = inputs_of(page).keys
        assert [keys[key]["value"] for key in "123"] == ["other", "spam", "threat"]
        places = [page.index(f'value="{label}"') for label in ("threat", "other", "spam")]
        assert places == sorted(places)


async def test_a_person_gets_items_of_their_tasks() -> None:
    items = (an_item(1, "of task a", task="a"), an_item(2, "of task b", task="b"))
    async with opened(*items) as console:
        console.store.accounts["ana"] = replace(console.store.accounts["ana"], tasks=("b",))
        async with console.client("ana") as browser:
            assert "of task b" in (await browser.get("/review")).text


async def test_a_break_is_proposed_after_the_time_without_a_pause() -> None:
    times = [BEGIN + timedelta(minutes=minutes) for minutes in (0, 4, 8, 11, 17, 17)]
    options = PageOptions(tasks={None: SPAM}, break_after_min=10)
    passing = iter(times)
    now = lambda: next(passing)  # noqa: E731 one line
    async with (
        opened(an_item(1), options=options, now=now) as console,
        console.client("ana") as who,
    ):
        pages = [(await who.get("/review")).text for _ in times]
    assert ["Time for a break" in page for page in pages] == [False] * 3 + [True] + [False] * 2


async def test_hard_texts_are_counted_veiled_and_end_with_the_cap() -> None:
    items = [an_item(number, model_labels=("threat",)) for number in range(1, 9)]
    options = PageOptions(tasks={None: SPAM}, severe=frozenset({"threat"}), severe_per_day=3)
    async with opened(*items, options=options) as console:
        _, page, _ = await decided(console, "ana", label="threat")
        assert "1 of 3" in page
        assert "veiled" in page
        await decided(console, "ana", label="threat")
        _, page, _ = await decided(console, "ana", label="threat")
        assert "Enough for today" in page
        async with console.client("ben") as browser:
            assert "a text" in (await browser.get("/review")).text


async def test_the_time_in_the_form_cannot_exceed_the_time_since_the_page() -> None:
    async with opened(an_item(1), an_item(2), options=OPTIONS) as console:
        await decided(console, "ana", label="spam", shown_ms="99999999")
        await decided(console, "ana", label="spam", shown_ms="-1")
        assert [each.duration_ms for *_, each in console.store.decided] == [0, 0]


async def test_a_long_text_is_cut_on_the_page_and_whole_behind_its_link() -> None:
    text = "x" * 1_000_000 + "<script>the end"
    async with (
        opened(an_item(1, text), options=OPTIONS) as console,
        console.client("ana") as browser,
    ):
        page = (await browser.get("/review")).text
        assert len(page) < 60_000
        assert "20000 of 1000015 characters" in page
        lease = inputs_of(page).hidden["lease"]
        whole = await browser.get(f"/text/{lease}")
        assert whole.text == text
        assert whole.headers["content-type"] == "text/plain; charset=utf-8"
        assert whole.headers["content-security-policy"] == "sandbox"
        assert whole.headers["x-content-type-options"] == "nosniff"


# --- who may what ---------------------------------------------------------------------------------

LEADING = ("/lead", "/lead/quality", "/lead/search", "/lead/items/1", "/lead/live")
OWN = ("/review", "/mine")


@pytest.mark.parametrize("path", [*LEADING, *OWN, "/text/x"])
async def test_nobody_sees_anything_without_signing_in(path: str) -> None:
    async with opened(an_item(1, "a secret text")) as console, console.client() as browser:
        answer = await browser.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/sign-in?back={path}"


@pytest.mark.parametrize("path", LEADING)
async def test_a_reviewer_does_not_see_the_leading_pages(path: str) -> None:
    async with opened(an_item(1, "a secret text")) as console, console.client("ana") as browser:
        answer = await browser.get(path)
        assert answer.status_code == 403
        assert "secret" not in answer.text


@pytest.mark.parametrize("path", [*(p for p in LEADING if p != "/lead/live"), *OWN])
async def test_a_lead_sees_all_pages_in_both_languages(path: str) -> None:
    async with opened(an_item(1)) as console:
        for language, word in (("en", "Queue"), ("zh", "队列")):
            async with console.client("lea", **{"accept-language": language}) as browser:
                answer = await browser.get(path)
                assert answer.status_code == 200
                assert word in answer.text


async def test_every_page_has_the_headers_that_contain_it() -> None:
    async with opened(an_item(1)) as console, console.client("lea") as browser:
        for path in ("/review", "/lead", "/sign-in", "/no-such-page"):
            headers = (await browser.get(path)).headers
            assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
            assert "unsafe" not in CONTENT_SECURITY_POLICY
            assert headers["cache-control"] == "no-store"
            assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/review", "/undo", "/lead/items/1/reopen", "/sign-in", "/view"])
async def test_another_site_can_change_nothing(path: str, headers: dict[str, str]) -> None:
    async with opened(an_item(1)) as console, console.client("lea", **headers) as browser:
        answer = await browser.post(path, data={"label": "spam", "note": "x"})
        assert answer.status_code == 403
        assert console.store.decided == []
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("secure", [False, True])
async def test_signing_in_sets_a_cookie_that_scripts_and_other_sites_do_not_get(
    secure: bool,
) -> None:
    async with opened(secure=secure) as console, console.client() as browser:
        form = {"name": "ana", "password": "correct horse battery", "back": "/mine"}
        answer = await browser.post("/sign-in", data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/mine")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert ("secure" in cookie.split("; ")) is secure
        assert cookie.startswith("__host-") is secure


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "/\\evil", "x", "/\n"])
async def test_signing_in_leads_to_our_own_pages_only(back: str) -> None:
    async with opened() as console, console.client() as browser:
        form = {"name": "ana", "password": "correct horse battery", "back": back}
        answer = await browser.post("/sign-in", data=form)
        assert answer.headers["location"] == "/"


async def test_a_wrong_password_keeps_the_name_and_not_the_password() -> None:
    async with opened() as console, console.client() as browser:
        form = {"name": '"><script>', "password": "wrong password", "back": "/"}
        answer = await browser.post("/sign-in", data=form)
        assert answer.status_code == 403
        assert "name or password is wrong" in answer.text
        assert "wrong password" not in answer.text
        assert "<script>" not in answer.text


async def test_signing_out_ends_the_session() -> None:
    async with opened(an_item(1)) as console, console.client("ana") as browser:
        answer = await browser.post("/sign-out")
        assert "max-age=0" in answer.headers["set-cookie"].lower()


async def test_the_link_of_the_demo_signs_in_once() -> None:
    link = OneTimeLink("ana", now_s=0)
    async with opened(an_item(1), link=link) as console, console.client() as browser:
        answer = await browser.get(f"/enter/{link.token}")
        assert answer.status_code == 303
        assert (await browser.get("/review")).status_code == 200
        again = await browser.get(f"/enter/{link.token}")
        assert again.status_code == 403
        assert "was used" in again.text


async def test_a_proxy_signs_in_and_its_people_cannot_sign_out() -> None:
    proxy = TrustedProxy.of("X-Forwarded-User", ["127.0.0.1"])
    header = {"x-forwarded-user": "ana"}
    async with opened(an_item(1), proxy=proxy) as console, console.client(**header) as browser:
        page = await browser.get("/review")
        assert page.status_code == 200
        assert "/sign-out" not in page.text


async def test_a_reviewer_who_is_removed_while_holding_a_lease_saves_nothing() -> None:
    async with opened(an_item(1), options=OPTIONS) as console, console.client("ana") as browser:
        lease = inputs_of((await browser.get("/review")).text).hidden["lease"]
        ana = console.store.accounts["ana"]
        console.store.accounts["ana"] = replace(ana, is_disabled=True)
        answer = await browser.post("/review", data={"lease": lease, "label": "spam"})
        assert answer.status_code == 401
        assert "Nothing was saved" in answer.text
        assert console.store.decided == []


# --- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "words"),
    [("read_only", "cannot be written"), ("full", "is full"), ("gone", "cannot be reached")],
)
async def test_a_database_that_does_not_work_is_told_and_nothing_acknowledged(
    reason: str, words: str
) -> None:
    async with opened(an_item(1), options=OPTIONS) as console, console.client("ana") as browser:
        lease = inputs_of((await browser.get("/review")).text).hidden["lease"]
        console.store.broken = reason
        for answer in (
            await browser.get("/review"),
            await browser.post("/review", data={"lease": lease, "label": "spam"}),
        ):
            assert answer.status_code == 503
            assert words in answer.text
        ready = await browser.get("/readyz")
        assert (ready.status_code, ready.text) == (503, f"{reason}\n")
        console.store.broken = None
        assert (await browser.get("/readyz")).status_code == 200
        answer = await browser.post("/review", data={"lease": lease, "label": "spam"})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"x" * 70_000, "application/x-www-form-urlencoded", 413),
        (b"lease=1", "multipart/form-data; boundary=x", 415),
        (b"\xff\xfe", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a=1" for _ in range(600)), "application/x-www-form-urlencoded", 400),
    ],
)
async def test_a_form_that_is_none_of_the_console_is_refused(
    body: bytes, kind: str, status: int
) -> None:
    async with opened(an_item(1)) as console, console.client("ana") as browser:
        answer = await browser.post("/review", content=body, headers={"content-type": kind})
        assert answer.status_code == status
        assert "not understood" in answer.text


@pytest.mark.parametrize("path", ["/no/such", "/static/x/console.css", "/lead/items/x"])
async def test_an_unknown_address_is_a_page(path: str) -> None:
    async with opened() as console, console.client("lea") as browser:
        answer = await browser.get(path)
        assert answer.status_code == 404
        assert "Nothing is here" in answer.text


async def test_an_item_that_is_not_there_is_told() -> None:
    async with opened() as console, console.client("lea") as browser:
        answer = await browser.get("/lead/items/5")
        assert answer.status_code == 409
        assert "there is no such item" in answer.text


# --- leading --------------------------------------------------------------------------------------


async def test_a_lead_finds_an_item_and_opens_it_again() -> None:
    items = (an_item(1, "first text"), an_item(2, "second text"))
    async with opened(*items, options=OPTIONS) as console:
        await decided(console, "ana", label="threat")
        async with console.client("lea") as browser:
            found = await browser.get("/lead/search", params={"id": "r-1"})
            assert "first text" in found.text
            assert "second text" not in found.text
            answer = await browser.post("/lead/items/1/reopen", data={"note": "look again"})
            assert answer.headers["location"] == "/lead/items/1"
            page = await browser.get("/lead/items/1")
            assert "Opened again" in page.text
            assert "look again" in page.text
        assert console.store.items[1].state == "open"


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", ("audits undecided", "of them overdue")), ("zh", ("未完成的抽查", "其中已超时"))],
)
async def test_a_lead_sees_how_many_audits_wait_and_are_overdue(
    language: str, words: tuple[str, str]
) -> None:
    now = BEGIN + timedelta(days=3)
    audits = [
        an_item(1, purpose="audit"),
        an_item(2, purpose="audit", arrived_at=now),
        an_item(3, purpose="audit", state="purged", text=None),
        an_item(4),
    ]
    options = PageOptions(audit_overdue_h=24)
    async with (
        opened(*audits, options=options, now=lambda: now) as console,
        console.client("lea", **{"accept-language": language}) as browser,
    ):
        page = (await browser.get("/lead")).text
    tiles = dict(re.findall(r'<b id="total\.(\w+)">([^<]*)</b>', page))
    assert {name: tiles[name] for name in tiles if "audit" in name} == {
        "audits": "2",
        "audits_overdue": "1",
        "oldest_audit": "3 d",
        "audits_erased": "1",
    }
    assert all(f">{word}<" in page for word in words)


@pytest.mark.parametrize(("language", "word"), [("en", "No audits"), ("zh", "尚无抽查")])
async def test_a_stream_without_audits_is_told_that_nothing_is_checked(
    language: str, word: str
) -> None:
    async with (
        opened(an_item(1)) as console,
        console.client("lea", **{"accept-language": language}) as browser,
    ):
        page = (await browser.get("/lead")).text
    assert word in page
    assert "total.audits" not in page


async def test_choices_of_the_view_are_kept_and_anything_else_is_ignored() -> None:
    async with opened(an_item(1)) as console, console.client("ana") as browser:
        for form in ({"theme": "dark"}, {"blur": "1"}, {"language": "zh"}, {"theme": '"><x'}):
            answer = await browser.post("/view", data={"back": "/review"} | form)
            assert answer.headers["location"] == "/review"
        page = (await browser.get("/review")).text
        assert '<html lang="zh-Hans" data-theme="dark" class="blur ">' in page
        browser.cookies.set("streamlabel-view", 'theme-"><script>.keys-0.x', domain="console.test")
        page = (await browser.get("/review")).text
        assert 'data-theme="auto"' in page
        assert 'data-keys="off"' in page


# Accounts, for admins


PEOPLE: dict[str, Role] = {"ana": "reviewer", "lea": "lead", "ada": "admin"}


@pytest.mark.parametrize(("name", "status"), [("ana", 403), ("lea", 403), ("ada", 200)])
async def test_accounts_are_for_admins(name: str, status: int) -> None:
    async with opened(roles=PEOPLE) as console, console.client(name) as browser:
        form = {"action": "add", "name": "new", "role": "admin"}
        assert (await browser.get("/accounts")).status_code == status
        assert (await browser.post("/accounts", data=form)).status_code == status
        assert ("/accounts" in (await browser.get("/mine")).text) is (status == 200)
        assert ("new" in console.store.accounts) is (status == 200)


async def test_an_account_is_added_with_a_password_that_is_shown_once_and_works() -> None:
    async with opened(roles=PEOPLE) as console, console.client("ada") as browser:
        form = {"action": "add", "name": "new <b>", "role": "lead", "tasks": "tone, , tone,topic"}
        page = (await browser.post("/accounts", data=form)).text
        found = re.search("<code>([^<]+)</code>", page)
        assert found is not None
        assert "new <b>" not in page
        assert "<code>" not in (await browser.get("/accounts")).text
        user = console.store.accounts["new <b>"]
        assert (user.role, user.tasks) == ("lead", ("tone", "topic"))
        async with console.client() as other:
            signed = {"name": "new <b>", "password": found[1]}
            assert (await other.post("/sign-in", data=signed)).status_code == 303


async def test_role_and_tasks_change_and_a_disabled_account_is_out_at_once() -> None:
    async with (
        opened(an_item(1), roles=PEOPLE) as console,
        console.client("ada") as browser,
        console.client("ana") as reviewer,
    ):
        change = {"action": "save", "name": "ana", "role": "lead", "tasks": "tone"}
        assert (await browser.post("/accounts", data=change)).status_code == 200
        assert console.store.accounts["ana"].tasks == ("tone",)
        assert (await reviewer.get("/lead")).status_code == 200
        assert "Nothing waits for you" in (await reviewer.get("/review")).text
        gone = {"action": "disable", "name": "ana"}
        assert (await browser.post("/accounts", data=gone)).status_code == 200
        assert (await reviewer.get("/review")).status_code == 303
        back = {"action": "add", "name": "ana", "role": "reviewer", "tasks": ""}
        assert (await browser.post("/accounts", data=back)).status_code == 200
        assert not console.store.accounts["ana"].is_disabled


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"action": "disable", "name": "ada"}, 409),
        ({"action": "save", "name": "ada", "role": "reviewer"}, 409),
        ({"action": "disable", "name": "nobody"}, 409),
        ({"action": "save", "name": "nobody", "role": "lead"}, 409),
        ({"action": "add", "name": " ", "role": "lead"}, 409),
        ({"action": "add", "name": "x", "role": "root"}, 400),
        ({"action": "else", "name": "ana"}, 400),
    ],
)
async def test_a_change_that_cannot_be_is_refused(form: dict[str, str], status: int) -> None:
    async with opened(roles=PEOPLE) as console, console.client("ada") as browser:
        before = dict(console.store.accounts)
        assert (await browser.post("/accounts", data=form)).status_code == status
        assert console.store.accounts == before


async def test_a_lead_makes_a_decided_item_a_known_answer_and_takes_it_back() -> None:
    async with opened(an_item(1), an_item(2), options=OPTIONS) as console:
        await decided(console, "ana", label="spam")
        async with console.client("lea") as browser:
            for enabled in (True, False):
                assert "Known answer" in (await browser.get("/lead/items/1")).text
                answer = await browser.post("/lead/items/1/known")
                assert answer.status_code == 303
                assert console.store.gold[1].is_enabled is enabled
            assert console.store.gold[1].labels == ("spam",)
            assert (await browser.post("/lead/items/2/known")).status_code == 409
        async with console.client("ana") as browser:
            assert (await browser.post("/lead/items/1/known")).status_code == 403


async def test_the_quality_page_says_what_a_refit_would_bring_or_why_that_is_not_known() -> None:
    async with opened(options=OPTIONS) as console, console.client("lea") as browser:
        page = (await browser.get("/lead/quality")).text
        assert "It cannot be said yet" in page
        assert "names no file that this console can read" in page
    options = replace(OPTIONS, calibration=two_labels())
    async with opened(options=options) as console, console.client("lea") as browser:
        console.store.messages = traffic(20_000)
        page = (await browser.get("/lead/quality")).text
        said = re.search(r"([0-9,]+) verdicts: review falls from ([0-9.]+) % to ([0-9.]+) %", page)
        assert said is not None
        assert said[1] == f"{len(console.store.messages):,}"
        assert float(said[3]) < float(said[2])
