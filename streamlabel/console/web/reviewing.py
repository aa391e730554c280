"""The reviewing page: one item under a lease, one key a decision, ten seconds to take it back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from streamlabel.console.access.people import Person
from streamlabel.console.store.items import AlikeItems, Item, Lease
from streamlabel.console.web.deciding import decision_of
from streamlabel.console.web.forms import read_form
from streamlabel.console.web.options import TaskChoices
from streamlabel.console.web.presenting import present
from streamlabel.console.web.reused import Reused
from streamlabel.console.web.site import Site
from streamlabel.console.web.stretches import Stretches
from streamlabel.console.web.visible import plain
from streamlabel.errors import (
    ItemGoneError,
    ReviewError,
    StaleLeaseError,
    UndoExpiredError,
    VerdictError,
)

__all__ = ["Reviewing"]

_NEIGHBOURS = 5
_ALIKE = 500  # decided together at most
_NOTE_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class _Done:
    item_id: int
    what: str
    also: int


@dataclass(frozen=True, slots=True)
class _Exposure:
    count: int
    cap: int | None

    @property
    def is_capped(self) -> bool:
        return self.cap is not None and self.count >= self.cap


class Reviewing:
    """The pages of reviewers."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._store = site.store
        self._stretches = Stretches(site.options.break_after_min)
        self._waiting = Reused(site.store.waiting, monotonic_s=site.monotonic_s)

    def routes(self) -> Sequence[Route]:
        """Return the addresses."""
        personal = self._site.personal
        return [
            Route("/review", personal("review", self._next), methods=["GET"]),
            Route("/review", personal("review", self._decide), methods=["POST"]),
            Route("/undo", personal("review", self._undo), methods=["POST"]),
            Route("/lease", personal("review", self._renew), methods=["POST"]),
            Route("/text/{lease}", personal("review", self._text), methods=["GET"]),
        ]

    async def _next(self, request: Request, person: Person) -> Response:
        return await self._page(request, person)

    async def _page(
        self,
        request: Request,
        person: Person,
        *,
        done: _Done | None = None,
        problem: str | None = None,
        leased: tuple[Item, Lease] | None = None,
    ) -> Response:
        """Return the page with the next item, or with one that is leased already."""
        now = self._site.now()
        exposure = await self._exposure(person, now)
        capped = exposure is not None and exposure.is_capped and leased is None
        if leased is None and not capped:
            tasks = None if person.tasks is None else [task or None for task in person.tasks]
            leased = await self._store.next_item(reviewer=person.name, tasks=tasks, now=now)
        options = self._site.options
        return self._site.page(
            request,
            "review.html",
            person=person,
            page="review",
            item=None if leased is None else await self._shown(request, *leased, now=now),
            done=done,
            problem=problem,
            note="",
            exposure=exposure,
            pause_min=self._stretches.minutes_to_propose(person.name, now=now),
            capped=capped,
            undo_s=round(options.undo_s),
            renew_s=max(1, round(options.lease_s / 3)),
            counters=await self._counters(person, now),
        )

    async def _shown(self, request: Request, item: Item, lease: Lease, *, now: datetime) -> object:
        alike = None if item.is_blind else await self._store.alike(item, limit=_ALIKE)
        return present(
            item,
            lease=self._site.leases.write(lease, now=now, saw_model_answer=not item.is_blind),
            options=self._site.options,
            neighbours=await self._store.neighbours(item, limit=_NEIGHBOURS),
            alike=alike or AlikeItems(()),
            t=self._site.words(request),
        )

    async def _exposure(self, person: Person, now: datetime) -> _Exposure | None:
        options = self._site.options
        if not options.severe:
            return None
        seen = await self._store.exposure(reviewer=person.name, since=now - timedelta(days=1))
        count = sum(number for label, number in seen.items() if label in options.severe)
        return _Exposure(count, options.severe_per_day)

    async def _counters(self, person: Person, now: datetime) -> dict[str, int]:
        waiting = await self._waiting.value()
        return {
            "open": sum(number for task, number in waiting.items() if person.sees(task)),
            "mine": await self._store.decided_by(person.name, since=_morning(now)),
        }

    async def _decide(self, request: Request, person: Person) -> Response:
        form = await read_form(request)
        note = form.one("note").strip()[:_NOTE_CHARACTERS]
        t = self._site.words(request)
        shown = self._site.leases.read(form.one("lease"), reviewer=person.name)
        if shown is None:
            return self._kept(request, person, t("stale"), note)
        now = self._site.now()
        lease = shown.lease
        try:
            item = await self._store.item(lease.item_id)
            decision = decision_of(
                item,
                action=form.one("action"),
                labels=form.all("label"),
                task=self._site.options.tasks.get(item.task, TaskChoices()),
                note=note or None,
                saw_model_answer=shown.saw_model_answer,
                duration_ms=shown.duration_ms(form.one("shown_ms"), now=now),
            )
            also = 0
            if form.one("alike") and not item.is_blind and decision.action != "skip":
                alike = await self._store.alike(item, limit=_ALIKE)
                also = await self._store.decide_alike(lease, decision, alike.item_ids, now=now) - 1
            else:
                await self._store.decide(lease, decision, now=now)
        except StaleLeaseError:
            return self._kept(request, person, t("stale"), note)
        except ItemGoneError:
            return self._kept(request, person, t("gone"), note)
        except VerdictError as error:
            return self._kept(request, person, t("not_fitting", why=str(error)), note)
        labels = decision.labels if decision.action == "correct" else item.model_labels
        decided = decision.action in {"confirm", "correct"}
        # of a blind item the model's answer stays unknown afterwards, too: looks are compared later
        what = plain(", ".join(labels or ()), limit=80) if decided else t(decision.action)
        return await self._page(
            request, person, done=_Done(item.item_id, what or t("no_label"), also)
        )

    def _kept(self, request: Request, person: Person, text: str, note: str) -> Response:
        return self._site.message(
            request, person=person, status=409, name="refused", text=text, note=note
        )

    async def _undo(self, request: Request, person: Person) -> Response:
        form = await read_form(request)
        now = self._site.now()
        item_id = form.number("item")
        present_lease = self._site.leases.read(form.one("lease"), reviewer=person.name)
        if present_lease is not None:  # a reviewer holds one lease
            await self._store.release(present_lease.lease, now=now)
        try:
            lease = await self._store.undo(reviewer=person.name, item_id=item_id, now=now)
            leased = (await self._store.item(item_id), lease)
        except (UndoExpiredError, ItemGoneError):
            t = self._site.words(request)
            return await self._page(request, person, problem=t("undo_over"))
        return await self._page(request, person, leased=leased)

    async def _renew(self, request: Request, person: Person) -> Response:
        form = await read_form(request)
        shown = self._site.leases.read(form.one("lease"), reviewer=person.name)
        try:
            if shown is None:
                raise StaleLeaseError("the form is not of this session")
            await self._store.renew(shown.lease, now=self._site.now())
        except ReviewError:
            return Response(status_code=409)
        return Response(status_code=204)

    async def _text(self, request: Request, person: Person) -> Response:
        shown = self._site.leases.read(request.path_params["lease"], reviewer=person.name)
        item = None if shown is None else await self._store.item(shown.lease.item_id)
        if item is None or item.text is None:
            return self._site.message(request, person=person, status=404, name="missing")
        text = item.text.encode("utf-8", "replace")
        # plain, and not to be guessed as anything else
        return PlainTextResponse(text, headers={"content-security-policy": "sandbox"})


def _morning(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)
