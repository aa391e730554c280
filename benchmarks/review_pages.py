"""What the pages of the review console cost a reviewer, and what texts and tools find in them.

``python -m benchmarks.review_pages``: a scripted reviewer decides by keyboard in a real browser,
with a store in memory, so that the interface is measured alone; axe-core examines every page, light
and dark, at the width of a desk and of a phone; hostile texts are shown.
"""

import time
from collections.abc import Mapping

from playwright.sync_api import Browser, expect

from benchmarks import results_file
from testing.console.browser import launched
from testing.console.desk import sitting
from testing.console.examining import axe_findings, hostile_effects
from testing.console.hostile import HOSTILE
from testing.console.memory_store import an_item

__all__ = ["measure"]

_ITEMS = 100
_KEYS = ("3", "1", "Enter", "2", "4")


def measure() -> Mapping[str, float]:
    """Return the figures: decisions_per_minute, axe_serious, hostile_executed."""
    with launched() as browser:
        findings = [
            finding
            for scheme in ("light", "dark")
            for width in (1280, 390)
            for finding in axe_findings(browser, scheme=scheme, width=width)
        ]
        return {
            "decisions_per_minute": _decisions_per_minute(browser),
            "axe_serious": len(findings),
            "hostile_executed": len(hostile_effects(browser)),
        }


def _decisions_per_minute(browser: Browser) -> float:
    """Return how many texts a script decides, one key each, waiting until each text is shown."""
    items = [an_item(number, f"text {number}") for number in range(1, _ITEMS + 1)]
    with sitting(browser, *items) as desk:
        desk.go()
        began_s = time.perf_counter()
        for number in range(1, _ITEMS):
            desk.press(_KEYS[number % len(_KEYS)])
            expect(desk.page.locator(".text")).to_have_text(f"text {number + 1}")
        took_s = time.perf_counter() - began_s
        if len(desk.store.decided) != _ITEMS - 1:
            raise RuntimeError(f"{len(desk.store.decided)} of {_ITEMS - 1} decisions were stored")
    return (_ITEMS - 1) / took_s * 60


def main() -> None:
    """Measure, and write the results."""
    figures = measure()
    page = (
        "| figure | measured | to reach |\n| --- | --- | --- |\n"
        "| decisions a minute, by keyboard, interface alone |"
        f" {figures['decisions_per_minute']:.0f} | >= 60 |\n"
        "| axe-core, serious or critical, all pages, light and dark, 1280 and 390 pixels |"
        f" {figures['axe_serious']:.0f} | 0 |\n"
        f"| effects of {len(HOSTILE)} hostile texts | {figures['hostile_executed']:.0f} | 0 |\n"
    )
    results_file.write(
        "review_pages",
        command="python -m benchmarks.review_pages",
        figures=figures,
        page=page,
        libraries=("starlette", "jinja2", "playwright", "axe-playwright-python"),
    )


if __name__ == "__main__":
    main()
