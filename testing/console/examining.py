"""Examines pages: what hostile texts did to them, and what axe-core finds."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Dialog

from streamlabel.console.store.items import Event
from streamlabel.console.web.options import PageOptions
from testing.console.desk import Desk, sitting
from testing.console.hostile import HOSTILE
from testing.console.memory_store import an_item

__all__ = ["PAGES", "axe_findings", "hostile_effects"]

PAGES = (
    *("/review", "/mine", "/lead", "/lead/quality", "/lead/search", "/lead/items/1"),
    *("/accounts", "/sign-in", "/x"),
)
_LONGEST_LABEL = 2000
# Buttons over which something else lies.
_COVERED = """[...document.querySelectorAll(".choice")].filter((button) => {
  button.scrollIntoView({ block: "center" });
  const box = button.getBoundingClientRect();
  const hit = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  return !button.contains(hit);
}).length"""
_WIDER = "document.documentElement.scrollWidth > window.innerWidth"
_EXECUTED = "window.executed !== undefined || document.title === 'executed'"


def hostile_effects(browser: Browser) -> list[str]:
    """Return what hostile texts did, on a phone; empty: nothing.

    Each is text, label, metadata, neighbour, id and note, on the reviewing and leading pages.
    """
    items = []
    for number, text in enumerate(HOSTILE, 1):
        short = text[:_LONGEST_LABEL] or "x"
        items.append(
            an_item(
                number,
                text,
                probabilities={"spam": 0.6, short: 0.4},
                prediction_set=(short,),
                metadata={short: short, "n": {short: [short]}},
                record_id=f"r-{short}",
                key=b"all",
            )
        )
    effects: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        effects.append("a dialog")
        dialog.dismiss()

    viewport = {"width": 390, "height": 844}
    with sitting(browser, *items, options=PageOptions(), viewport=viewport) as desk:
        desk.page.on("dialog", dismiss)
        now = datetime(2026, 11, 29, tzinfo=UTC)
        for number, item in enumerate(items, 1):
            desk.go()
            effects += [f"text {number}: {effect}" for effect in _effects(desk)]
            said = Event(at=now, actor=item.record_id, action="x", item_id=number, note=item.text)
            desk.store.events.append(said)
            desk.store.leases.clear()
            desk.store.items[number] = replace(desk.store.items[number], state="decided")
        for path in ("/lead", "/lead/search", "/lead/items/1", "/lead/items/9"):
            desk.go(path)
            effects += [f"{path}: {effect}" for effect in _effects(desk)]
    return effects + desk.faults


def _effects(desk: Desk) -> Iterator[str]:
    if desk.page.evaluate(_EXECUTED):
        yield "executed"
    if desk.page.evaluate(_WIDER):
        yield "wider than the window"
    if desk.page.evaluate(_COVERED):
        yield "a button is covered"


def axe_findings(browser: Browser, *, scheme: str, width: int) -> list[str]:
    """Return the serious and critical findings of axe-core on all pages, in all their states.

    Args:
        browser: of the test.
        scheme: light or dark.
        width: of the window, in CSS pixels.
    """
    items = [
        an_item(1, "a text", metadata={"channel": "x"}, key=b"k"),
        an_item(2, "a text", key=b"k"),
        an_item(3, "\u202eblind", purpose="audit"),
    ]
    found: list[str] = []
    options = PageOptions(severe=frozenset({"spam"}))
    viewport = {"width": width, "height": 844}
    # axe is injected, which the content security policy would refuse
    with sitting(
        browser, *items, options=options, color_scheme=scheme, viewport=viewport, bypass_csp=True
    ) as desk:

        def examine(place: str) -> None:
            for each in Axe().run(desk.page).response["violations"]:
                if each["impact"] in {"serious", "critical"}:
                    nodes = [node["target"] for node in each["nodes"]]
                    found.append(f"{place}: {each['id']} {nodes}")

        for path in PAGES:
            desk.go(path)
            examine(path)
        desk.go()
        desk.page.locator("summary", has_text="View").click()
        examine("the view's menu")
        desk.page.locator("summary", has_text="View").click()
        desk.page.locator(".text").focus()
        desk.press("?")
        examine("the keys")
        desk.press("Escape")
        desk.page.locator(".text").focus()
        desk.press("3")
        examine("after a decision")
        desk.store.leases.clear()
        desk.press("1")
        examine("after a refusal")
        desk.go()
        desk.press("1", "1", "1")
        desk.go()
        examine("nothing left")
    return found
