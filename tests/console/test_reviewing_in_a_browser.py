"""Reviewing in a real browser: keys, refusals, undo, hostile texts, accessibility."""

import re
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, expect

from streamlabel.console.web.options import PageOptions, TaskChoices
from testing.console.desk import LABELS, sitting
from testing.console.examining import PAGES, axe_findings, hostile_effects
from testing.console.hostile import HOSTILE
from testing.console.memory_store import an_item

TEXTS = [an_item(number, f"text {number}") for number in range(1, 9)]


def test_one_key_is_one_decision(browser: Browser) -> None:
    with sitting(browser, *TEXTS) as desk:
        desk.go()
        desk.press("3", "4", "Enter", "u", "s")
        assert desk.actions() == [
            (1, "confirm", None),  # 3 is spam, which the model said, too
            (2, "correct", ("threat",)),
            (3, "confirm", None),
            (4, "unsure", None),
            (5, "skip", None),
        ]
        expect(desk.page.locator(".text")).to_have_text("text 6")
        expect(desk.page.locator("#status")).to_contain_text("Saved: Skip. Next text.")
        focused = desk.page.evaluate("document.activeElement.id")
        assert focused == "text"


def test_several_labels_are_chosen_by_keys_and_saved_by_enter(browser: Browser) -> None:
    options = PageOptions(tasks={None: TaskChoices(labels=LABELS, multiple=True)})
    with sitting(browser, *TEXTS, options=options) as desk:
        desk.go()
        desk.press("1", "4", "3", "Enter")  # the model's own one, 3, is taken away
        desk.press("Enter")
        assert desk.actions() == [(1, "correct", ("insult", "threat")), (2, "confirm", None)]


@pytest.mark.parametrize("held", ["Control", "Meta", "Alt"])
def test_keys_with_a_modifier_belong_to_the_browser(browser: Browser, held: str) -> None:
    with sitting(browser, *TEXTS) as desk:
        desk.go()
        # as an event: the browser itself must not do what the keys mean to it
        name = {"Control": "ctrlKey", "Meta": "metaKey", "Alt": "altKey"}[held]
        for key in ("1", "u", "s", "Enter"):
            desk.page.evaluate(
                "([key, name]) => document.body.dispatchEvent(new KeyboardEvent('keydown',"
                " {key, bubbles: true, [name]: true}))",
                [key, name],
            )
        desk.page.wait_for_timeout(100)
        assert desk.actions() == []


def test_keys_in_a_text_field_are_text(browser: Browser) -> None:
    with sitting(browser, *TEXTS) as desk:
        desk.go()
        desk.press("n")
        note = desk.page.locator("#note")
        expect(note).to_be_focused()
        desk.page.keyboard.type("1 suz")
        expect(note).to_have_value("1 suz")
        assert desk.actions() == []
        desk.press("Escape", "3")
        assert desk.store.decided[0][2].note == "1 suz"


def test_keys_can_be_switched_off(browser: Browser) -> None:
    with sitting(browser, *TEXTS) as desk:
        desk.go()
        desk.page.locator("summary", has_text="View").click()
        desk.page.get_by_role("button", name="Single keys").click()
        desk.page.locator("summary", has_text="View").click()
        desk.page.locator(".text").focus()
        desk.press("3")
        desk.page.reload()
        desk.press("3")
        assert desk.actions() == []


def test_an_input_method_does_not_hide_the_keys(browser: Browser) -> None:
    with sitting(browser, *TEXTS) as desk:
        desk.go()
        desk.page.evaluate(
            "document.body.dispatchEvent(new KeyboardEvent('keydown',"
            " {key: 'Process', code: 'Digit4', bubbles: true}))"
        )
        expect(desk.page.locator(".text")).to_have_text("text 2")
        assert desk.actions() == [(1, "correct", ("threat",))]


def test_an_escalation_asks_for_a_note_and_enter_sends_it(browser: Browser) -> None:
    with sitting(browser, *TEXTS) as desk:
        desk.go()
        desk.press("e")
        expect(desk.page.locator("#note")).to_be_focused()
        desk.page.keyboard.type("is this legal?")
        desk.press("Enter")
        expect(desk.page.locator(".text")).to_have_text("text 2")
        assert desk.actions() == [(1, "escalate", None)]
        assert desk.store.decided[0][2].note == "is this legal?"


def test_a_decision_is_taken_back_by_one_key(browser: Browser) -> None:
    with sitting(browser, *TEXTS) as desk:
        desk.go()
        desk.press("4", "z")
        expect(desk.page.locator(".text")).to_have_text("text 1")
        assert desk.actions() == []


def test_the_offer_to_take_back_ends_with_its_time(browser: Browser) -> None:
    options = PageOptions(tasks={None: TaskChoices(labels=LABELS)}, undo_s=1)
    with sitting(browser, *TEXTS, options=options) as desk:
        desk.go()
        desk.press("4")
        undo = desk.page.locator("[data-undo]")
        expect(undo).to_be_visible()
        expect(undo).to_have_count(0, timeout=5000)
        assert desk.actions() == [(1, "correct", ("threat",))]


def test_a_refusal_keeps_the_text_and_the_note_on_the_screen(browser: Browser) -> None:
    with sitting(browser, *TEXTS) as desk:
        desk.go()
        desk.press("n")
        desk.page.keyboard.type("a long thought")
        desk.store.leases.clear()  # the lease is over
        desk.press("Escape", "3")
        expect(desk.page.get_by_role("alert")).to_contain_text("not yours any more")
        expect(desk.page.locator(".text")).to_have_text("text 1")
        expect(desk.page.locator("#note")).to_have_value("a long thought")
        assert desk.actions() == []


@pytest.mark.parametrize("fault", ["database", "network"])
def test_a_fault_keeps_the_text_and_the_next_try_works(browser: Browser, fault: str) -> None:
    with sitting(browser, *TEXTS) as desk:
        desk.go()
        if fault == "database":
            desk.store.broken = "full"
        else:
            desk.context.set_offline(offline=True)
        desk.press("3")
        words = "is full" if fault == "database" else "does not answer"
        expect(desk.page.get_by_role("alert")).to_contain_text(words)
        expect(desk.page.locator(".text")).to_have_text("text 1")
        desk.store.broken = None
        desk.context.set_offline(offline=False)
        desk.press("3")
        expect(desk.page.locator(".text")).to_have_text("text 2")
        assert desk.actions() == [(1, "confirm", None)]
        desk.faults[:] = [each for each in desk.faults if "Failed to load resource" not in each]


def test_the_lease_is_renewed_while_the_page_is_open(browser: Browser) -> None:
    options = PageOptions(tasks={None: TaskChoices(labels=LABELS)}, lease_s=3)
    with sitting(browser, *TEXTS, options=options) as desk:
        with desk.page.expect_request("**/lease", timeout=10_000):
            desk.go()
        desk.store.leases.clear()
        expect(desk.page.get_by_role("alert")).to_contain_text("not yours", timeout=10_000)
        assert desk.actions() == []


def test_a_blurred_text_is_shown_by_a_key(browser: Browser) -> None:
    with sitting(browser, *TEXTS) as desk:
        desk.go()
        desk.page.locator("summary", has_text="View").click()
        desk.page.get_by_role("button", name="Blur").click()
        desk.page.get_by_role("button", name="Greyscale").click()
        desk.page.locator("summary", has_text="View").click()
        text = desk.page.locator(".text")
        expect(text).to_have_css("filter", "grayscale(1) blur(7px)")
        text.focus()
        desk.press("v")
        expect(text).to_have_css("filter", "grayscale(1)")
        desk.press("3")
        expect(text).to_have_css("filter", "grayscale(1) blur(7px)")
        assert desk.actions() == [(1, "confirm", None)]


def test_everything_works_without_scripts(browser: Browser) -> None:
    with sitting(browser, *TEXTS, java_script_enabled=False) as desk:
        desk.go()
        desk.page.get_by_role("button", name="threat").click()
        expect(desk.page.locator(".text")).to_have_text("text 2")
        desk.page.get_by_role("button", name="Undo").click()
        expect(desk.page.locator(".text")).to_have_text("text 1")
        assert desk.actions() == []


def test_the_live_numbers_follow_the_queue(browser: Browser) -> None:
    with sitting(browser, *TEXTS) as desk:
        desk.go("/lead")
        expect(desk.page.locator("#live")).to_have_text("Live")
        for number in (1, 2):
            desk.store.items[number] = replace(desk.store.items[number], state="decided")
        expect(desk.page.locator("[id='total.open']")).to_have_text("6", timeout=10_000)
        assert desk.page.locator("[id='total.leased']").inner_text() == "0"


# --- hostile texts, accessibility -----------------------------------------------------------------


@pytest.mark.timeout(180)  # pages with a megabyte of text, on a busy machine
def test_fifty_hostile_texts_do_nothing(browser: Browser) -> None:
    assert len(HOSTILE) >= 50
    assert hostile_effects(browser) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious(browser: Browser, scheme: str, width: int) -> None:
    assert axe_findings(browser, scheme=scheme, width=width) == []


def test_the_page_of_a_phone_is_not_wider_than_the_phone(browser: Browser) -> None:
    with sitting(browser, *TEXTS, viewport={"width": 360, "height": 740}) as desk:
        for path in PAGES:
            desk.go(path)
            assert desk.page.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_a_scripted_reviewer_decides_sixty_texts_a_minute_or_more(browser: Browser) -> None:
    """The cost of the interface alone; measured properly in benchmarks/review_pages.py."""
    items = [an_item(number, f"text {number}") for number in range(1, 31)]
    with sitting(browser, *items) as desk:
        desk.go()
        began = desk.page.evaluate("performance.now()")
        for number in range(1, 21):
            expect(desk.page.locator(".text")).to_have_text(re.compile(rf"^text {number}$"))
            desk.press("3")
        took_ms = desk.page.evaluate("performance.now()") - began
        assert len(desk.actions()) == 20
        assert 20 / took_ms * 60_000 >= 60
