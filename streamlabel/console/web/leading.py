"""The leading pages: the queue live, quality, search, an item's history, reopening."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, get_args

from sse_starlette.sse import EventSourceResponse
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from streamlabel.console.access.people import Person
from streamlabel.console.statistics.accepted_error import audit_curve
from streamlabel.console.statistics.agreement import agreement_by_label
from streamlabel.console.statistics.confusion import figures_of, reviewers_of
from streamlabel.console.statistics.refit_forecast import RefitForecast, refit_forecast
from streamlabel.console.store.items import Gold, Search, State, VerdictRow
from streamlabel.console.web.forms import read_form
from streamlabel.console.web.plots import audit_plot
from streamlabel.console.web.queue_figures import queue_figures
from streamlabel.console.web.reused import Reused
from streamlabel.console.web.site import Site
from streamlabel.console.web.visible import pieces, plain
from streamlabel.errors import ConfigError, ItemGoneError, StoreUnavailableError

__all__ = ["Leading"]

_LIVE_S: Final = 2.0
_FOUND: Final = 50
_EXCERPT_CHARACTERS: Final = 160
_DAYS: Final = 30
_FITTED: Final = 20_000  # verdicts: more change little, and their fit takes seconds
_MAX_DAYS: Final = 366
_QUERY_CHARACTERS: Final = 300


class Leading:
    """The pages of leads, and what each reviewer sees about their own verdicts."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._store = site.store
        self._forecast = Reused(self._forecast_now, monotonic_s=site.monotonic_s)
        self._counts = Reused(
            lambda: site.store.counts(now=site.now()), monotonic_s=site.monotonic_s
        )

    def routes(self) -> Sequence[Route]:
        """Return the addresses."""
        personal = self._site.personal
        return [
            Route("/mine", personal("review", self._mine)),
            Route("/lead", personal("lead", self._queue)),
            Route("/lead/live", personal("lead", self._live)),
            Route("/lead/quality", personal("lead", self._quality)),
            Route("/lead/search", personal("lead", self._search)),
            Route("/lead/items/{item_id:int}", personal("lead", self._item)),
            Route(
                "/lead/items/{item_id:int}/reopen", personal("lead", self._reopen), methods=["POST"]
            ),
            Route(
                "/lead/items/{item_id:int}/known", personal("lead", self._known), methods=["POST"]
            ),
        ]

    async def _queue(self, request: Request, person: Person) -> Response:
        figures = queue_figures(await self._counts.value(), now=self._site.now())
        return self._site.page(
            request,
            "lead.html",
            person=person,
            page="lead",
            figures=figures,
            audit_hours=f"{self._site.options.audit_overdue_h:g}",
        )

    async def _live(self, request: Request, person: Person) -> Response:
        """Send the numbers of the queue whenever they change, as server-sent events."""

        async def events() -> AsyncIterator[dict[str, str]]:
            last = ""
            while not await request.is_disconnected():
                try:
                    figures = queue_figures(await self._counts.value(), now=self._site.now())
                    message = json.dumps(figures.cells)
                except StoreUnavailableError as error:
                    message = json.dumps({"problem": error.reason})
                # the account may have been removed since the page was opened
                signed_in = await self._site.person(request)
                if signed_in is None or not signed_in.may("lead"):
                    return
                if message != last:
                    yield {"data": message}
                    last = message
                await asyncio.sleep(_LIVE_S)

        return EventSourceResponse(events(), headers={"cache-control": "no-store"})

    async def _rows(self, request: Request) -> tuple[int, Sequence[VerdictRow]]:
        text = request.query_params.get("days", "")
        is_number = text.isascii() and text.isdigit() and len(text) < 5
        days = min(_MAX_DAYS, max(1, int(text))) if is_number else _DAYS
        now = self._site.now()
        return days, await self._store.reviewed(since=now - timedelta(days=days), until=now)

    async def _mine(self, request: Request, person: Person) -> Response:
        days, rows = await self._rows(request)
        own = figures_of(person.name, rows)
        return self._site.page(request, "mine.html", person=person, page="mine", days=days, own=own)

    async def _quality(self, request: Request, person: Person) -> Response:
        days, rows = await self._rows(request)
        promised = self._site.options.promised_error
        curve, agreement, reviewers = await asyncio.to_thread(_computed, rows, promised)
        return self._site.page(
            request,
            "quality.html",
            person=person,
            page="quality",
            days=days,
            agreement=agreement,
            audit=curve[-1] if curve else None,
            promised=promised,
            refit=await self._forecast.value(),
            plot=audit_plot(curve, promised=promised),
            reviewers=reviewers,
        )

    async def _forecast_now(self) -> RefitForecast | str:
        """Return what a refit would bring, or why it cannot be said."""
        calibration = self._site.options.calibration
        verdicts = await self._store.last_verdicts(limit=_FITTED)
        try:
            return await asyncio.to_thread(refit_forecast, verdicts, calibration)
        except ConfigError as error:
            return str(error)

    async def _search(self, request: Request, person: Person) -> Response:
        given = {
            name: request.query_params.get(name, "").strip()[:_QUERY_CHARACTERS]
            for name in ("id", "label", "reviewer", "state")
        }
        wanted: dict[str, Any] = {name: value for name, value in given.items() if value}
        if wanted.get("state") not in get_args(State):
            wanted.pop("state", None)
        found = await self._store.search(Search(**wanted), limit=_FOUND)
        return self._site.page(
            request,
            "search.html",
            person=person,
            page="search",
            given=given,
            states=get_args(State),
            limit=_FOUND,
            found=[
                (item, None if item.text is None else plain(item.text, limit=_EXCERPT_CHARACTERS))
                for item in found
            ],
        )

    async def _item(self, request: Request, person: Person) -> Response:
        item_id = request.path_params["item_id"]
        item = await self._store.item(item_id)
        return self._site.page(
            request,
            "item.html",
            person=person,
            page="search",
            item=item,
            text=None if item.text is None else pieces(item.text),
            events=await self._store.history(item_id),
            known=await self._gold_of(item_id),
            moment=_moment,
        )

    async def _reopen(self, request: Request, person: Person) -> Response:
        form = await read_form(request)
        item_id = request.path_params["item_id"]
        note = form.one("note").strip()[:2000]
        await self._store.reopen(item_id, by=person.name, note=note, now=self._site.now())
        return RedirectResponse(f"/lead/items/{item_id}", 303)

    async def _gold_of(self, item_id: int) -> Gold | None:
        golds = await self._store.golds()
        return next((each for each in golds if each.item_id == item_id and each.is_enabled), None)

    async def _known(self, request: Request, person: Person) -> Response:
        """Make a decided item one with a known answer, or no longer."""
        item_id = request.path_params["item_id"]
        item, known = await self._store.item(item_id), await self._gold_of(item_id)
        now = self._site.now()
        if known is not None:
            await self._store.remove_gold(known.gold_id, by=person.name, now=now)
        elif item.labels is None or item.purpose == "gold":
            raise ItemGoneError("only a decided item has an answer that can be the known one")
        else:
            await self._store.add_gold(item_id, labels=item.labels, by=person.name, now=now)
        return RedirectResponse(f"/lead/items/{item_id}", 303)


def _computed(rows: Sequence[VerdictRow], promised: float | None) -> tuple[Any, ...]:
    """Return all statistics; in a thread, because a bootstrap takes a while."""
    figures = [figures_of(each, rows) for each in reviewers_of(rows)]
    return audit_curve(rows, target=promised), agreement_by_label(rows), figures


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
