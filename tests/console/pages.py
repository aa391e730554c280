"""The pages in this process, and a person who uses them by HTTP."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from html.parser import HTMLParser

import httpx
from argon2 import PasswordHasher

from streamlabel.console.access.one_time_link import OneTimeLink
from streamlabel.console.access.passwords import Passwords
from streamlabel.console.access.provider import Provider
from streamlabel.console.access.proxy import TrustedProxy
from streamlabel.console.access.sessions import Sessions
from streamlabel.console.access.signing_in import Access
from streamlabel.console.store.items import Item, Role, User
from streamlabel.console.web.app import make_app
from streamlabel.console.web.options import PageOptions
from testing.console.desk import RENDERER
from testing.console.memory_store import BEGIN, MemoryStore

__all__ = ["ORIGIN", "Console", "Inputs", "inputs_of", "opened"]

ORIGIN = "http://console.test"


class Inputs(HTMLParser):
    """The form fields and controls of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: dict[str, str] = {}
        self.keys: dict[str, dict[str, str | None]] = {}

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """Collect what a person could send."""
        values = dict(attrs)
        if tag == "input" and values.get("type") == "hidden":
            self.hidden.setdefault(values["name"] or "", values.get("value") or "")
        if values.get("data-key"):
            self.keys[values["data-key"] or ""] = values


def inputs_of(html: str) -> Inputs:
    """Return the form fields and controls of a page."""
    inputs = Inputs()
    inputs.feed(html)
    return inputs


@dataclass
class Console:
    """The pages with a store in memory."""

    store: MemoryStore
    access: Access
    transport: httpx.ASGITransport

    def client(self, name: str | None = None, **headers: str) -> httpx.AsyncClient:
        """Return the browser of a person; None: of somebody who is not signed in."""
        cookies = {}
        if name is not None:
            session = self.access.sessions.begin(self.store.accounts[name], way="password")
            cookies[self.access.sessions.cookie] = session
        return httpx.AsyncClient(
            transport=self.transport,
            base_url=ORIGIN,
            cookies=cookies,
            headers={"origin": ORIGIN} | headers,
        )


@asynccontextmanager
async def opened(
    *items: Item,
    options: PageOptions | None = None,
    roles: dict[str, Role] | None = None,
    proxy: TrustedProxy | None = None,
    provider: Provider | None = None,
    link: OneTimeLink | None = None,
    secure: bool = False,
    now: Callable[[], datetime] = lambda: BEGIN,
    monotonic_s: Callable[[], float] = lambda: 0.0,
) -> AsyncIterator[Console]:
    """Open the pages with some items and people."""
    people: dict[str, Role] = roles or {"ana": "reviewer", "ben": "reviewer", "lea": "lead"}
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    hashed = await passwords.hashed("correct horse battery")
    users = [User(name=name, role=role, password_hash=hashed) for name, role in people.items()]
    store = MemoryStore(items, users)
    access = Access(
        store=store,
        sessions=Sessions("secret", secure=secure),
        passwords=passwords,
        proxy=proxy,
        provider=provider,
        link=link,
    )
    app = make_app(
        store,
        access,
        options or PageOptions(secure=secure),
        renderer=RENDERER,
        now=now,
        monotonic_s=monotonic_s,
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    yield Console(store, access, transport)
