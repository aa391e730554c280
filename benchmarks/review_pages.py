"""What the pages of the review console cost a reviewer, and what texts and tools find in them.

A scripted reviewer decides by keyboard in a real browser, with a store in memory, so that the
interface is measured alone; axe-core examines every page, light and dark, at the width of a desk
and of a phone; hostile texts are shown.
"""

import os
import time
from collections.abc import Mapping
from typing import Any

from playwright.sync_api import Browser, expect

from testing.console.browser import launched
from testing.console.desk import sitting
from testing.console.examining import axe_findings, hostile_effects
from testing.console.hostile import HOSTILE
from testing.console.memory_store import an_item

__all__ = ["pages"]

_ITEMS = 100
_KEYS = ("3", "1", "Enter", "2", "4")
_SCHEMES = ("light", "dark")
_WIDTHS = (1280, 390)  # of a desk, and of a phone


def pages() -> tuple[Mapping[str, float], Mapping[str, Any]]:
    """Return the figures decisions_per_minute, axe_serious and hostile_executed, and details."""
    with launched() as browser:
        findings = [
            finding
            for scheme in _SCHEMES
            for width in _WIDTHS
            for finding in axe_findings(browser, scheme=scheme, width=width)
        ]
        effects = hostile_effects(browser)
        figures = {
            "decisions_per_minute": _decisions_per_minute(browser),
            "axe_serious": float(len(findings)),
            "hostile_executed": float(len(effects)),
        }
    return figures, {
        "schemes": _SCHEMES,
        "widths": _WIDTHS,
        "findings": findings,
        "hostile_texts": len(HOSTILE),
        "effects": effects,
        "load_average": round(os.getloadavg()[0], 1),
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
