"""A scripted reviewer who uses the pages by HTTP, as a browser without scripts does."""

import html
import re
from dataclasses import dataclass
from typing import Final

import httpx
from itsdangerous import URLSafeSerializer

__all__ = ["PROXY_SETTINGS", "PageReviewer", "ShownItem"]

_LEASE: Final = re.compile(r'name="lease" value="([^"]+)"')
_HEADER: Final = "x-forwarded-user"
# Of the section ``console``: the header says who it is, and a script decides as fast as it can.
PROXY_SETTINGS: Final = {
    "auth": "proxy",
    "proxy": {"addresses": ["127.0.0.1"], "user_header": _HEADER},
    "rates": {
        "decisions_per_minute": None,
        "searches_per_minute": None,
        "requests_per_minute": None,
    },
}


@dataclass(frozen=True, slots=True)
class ShownItem:
    """What is on the page: an item, and the signed lease of it."""

    item_id: int
    lease: str


class PageReviewer:
    """One person. Errors of the connection are raised as httpx raises them."""

    def __init__(self, client: httpx.AsyncClient, name: str) -> None:
        self._client = client
        self._headers = {_HEADER: name, "sec-fetch-site": "same-origin"}

    async def open(self) -> ShownItem | None:
        """Open the page; return its item, None if there is none, or no page."""
        answer = await self._client.get("/review", headers=self._headers)
        return _shown(answer.text) if answer.status_code == httpx.codes.OK else None

    async def decide(self, shown: ShownItem, label: str) -> tuple[bool, ShownItem | None]:
        """Press a label.

        Returns:
            Whether the page said that it was saved, and the next item on it.
        """
        answer = await self._client.post(
            "/review",
            data={"lease": shown.lease, "label": label, "shown_ms": "1"},
            headers=self._headers,
        )
        if answer.status_code != httpx.codes.OK:
            return False, None
        return True, _shown(answer.text)


def _shown(page: str) -> ShownItem | None:
    found = _LEASE.search(page)
    if found is None:
        return None
    lease = html.unescape(found.group(1))
    _, content = URLSafeSerializer("").loads_unsafe(lease)
    return ShownItem(content[0], lease)
