"""A person with a browser in front of the pages, whose store is in memory."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page

from streamlabel.console.access.sessions import Sessions
from streamlabel.console.access.signing_in import Access
from streamlabel.console.store.items import Item, User
from streamlabel.console.web.app import make_app
from streamlabel.console.web.options import PageOptions, TaskChoices
from streamlabel.console.web.rendering import load_renderer
from testing.console.browser import served
from testing.console.memory_store import MemoryStore

__all__ = ["LABELS", "RENDERER", "Desk", "sitting"]

RENDERER = load_renderer()
LABELS = ("insult", "other", "spam", "threat")


@dataclass
class Desk:
    """One person, one page.

    Attributes:
        faults: of the page: errors of scripts, refusals of the content security policy.
    """

    store: MemoryStore
    context: BrowserContext
    page: Page
    address: str
    faults: list[str] = field(default_factory=list)

    def go(self, path: str = "/review") -> None:
        """Open a page."""
        self.page.goto(self.address + path)

    def press(self, *keys: str) -> None:
        """Press keys; after each the page has the answer."""
        for key in keys:
            self.page.keyboard.press(key)
            self.page.locator("main:not([aria-busy])").wait_for(state="attached")

    def actions(self) -> list[tuple[int, str, tuple[str, ...] | None]]:
        """Return what is stored: item, action, labels."""
        return [(item, each.action, each.labels) for _, item, each in self.store.decided]


@contextmanager
def sitting(
    browser: Browser,
    *items: Item,
    options: PageOptions | None = None,
    **context: Any,  # noqa: ANN401 as the browser takes them
) -> Iterator[Desk]:
    """Let an admin sit down; the page must have no faults when they stand up."""
    store = MemoryStore(items, [User(name="lea", role="admin"), User(name="ana")])
    sessions = Sessions("secret", secure=False)
    app = make_app(
        store,
        Access(store=store, sessions=sessions),
        options or PageOptions(tasks={None: TaskChoices(labels=LABELS)}),
        renderer=RENDERER,
        now=lambda: datetime.now(UTC),
        monotonic_s=time.monotonic,
    )
    with served(app) as address:
        opened = browser.new_context(**context)
        cookie = sessions.begin(store.accounts["lea"], way="link")
        opened.add_cookies([{"name": sessions.cookie, "value": cookie, "url": address}])
        page = opened.new_page()
        desk = Desk(store, opened, page, address)
        page.on("pageerror", lambda error: desk.faults.append(str(error)))
        page.on(
            "console",
            lambda said: (
                desk.faults.append(said.text)
                if said.type == "error" and "status of 4" not in said.text
                else None
            ),
        )
        try:
            yield desk
        finally:
            opened.close()
    assert desk.faults == []
