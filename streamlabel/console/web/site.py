"""What all pages share: who asks, in which language, and what happens when something is refused."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from streamlabel.console.access.people import Person, Right
from streamlabel.console.access.rates import Rates, asked_for
from streamlabel.console.access.signing_in import Access
from streamlabel.console.store.api import Store
from streamlabel.console.web.forms import read_form
from streamlabel.console.web.lease_form import LeaseForms
from streamlabel.console.web.options import PageOptions
from streamlabel.console.web.rendering import Renderer
from streamlabel.console.web.view import COOKIE, View
from streamlabel.console.web.wording import Wording, language_of
from streamlabel.errors import IdentityProviderError, ReviewError, StoreUnavailableError

__all__ = ["PersonalPage", "Site", "local_path"]

PersonalPage = Callable[[Request, Person], Awaitable[Response]]
# Pages in the header, with the right that each needs.
_PAGES: Final[tuple[tuple[str, str, Right], ...]] = (
    ("review", "/review", "review"),
    ("mine", "/mine", "review"),
    ("lead", "/lead", "lead"),
    ("quality", "/lead/quality", "lead"),
    ("search", "/lead/search", "lead"),
    ("accounts", "/accounts", "administer"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The parts that pages are made of.

    Attributes:
        now: returns the time, aware and in UTC.
        monotonic_s: returns seconds that never go back.
    """

    store: Store
    access: Access
    options: PageOptions
    renderer: Renderer
    leases: LeaseForms
    rates: Rates
    now: Callable[[], datetime]
    monotonic_s: Callable[[], float]

    def words(self, request: Request) -> Wording:
        """Return the texts in the language of a request."""
        view = View.read(request.cookies.get(COOKIE, ""))
        accepted = request.headers.get("accept-language", "")
        return self.renderer.wordings[language_of(chosen=view.language, accepted=accepted)]

    def page(
        self,
        request: Request,
        template: str,
        *,
        person: Person | None,
        status: int = 200,
        page: str = "",
        **values: Any,  # noqa: ANN401 what the template takes
    ) -> Response:
        """Return a page of a template."""
        html = self.renderer.render(
            template,
            language=self.words(request).language,
            view=View.read(request.cookies.get(COOKIE, "")),
            person=person,
            can_sign_out=person is not None and person.way != "proxy",
            pages=[] if person is None else [(n, a) for n, a, right in _PAGES if person.may(right)],
            page=page,
            path=request.url.path if request.method == "GET" else "/",
            **values,
        )
        return HTMLResponse(html, status)

    def message(
        self,
        request: Request,
        *,
        person: Person | None,
        status: int,
        name: str,
        text: str | None = None,
        note: str = "",
    ) -> Response:
        """Return a page that says what happened and what to do.

        Args:
            request: that is answered.
            person: who made it.
            status: of HTTP.
            name: of the texts ``NAME_title``, and ``NAME_text``.
            text: instead of ``NAME_text``.
            note: what was typed, to copy.
        """
        t = self.words(request)
        return self.page(
            request,
            "message.html",
            person=person,
            status=status,
            title=t(f"{name}_title"),
            text=text or t(f"{name}_text"),
            kept_note=note,
            next="/",
            next_text=t("go_on"),
        )

    def personal(
        self, right: Right, page: PersonalPage
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return the endpoint of a page for people who have a right."""

        async def endpoint(request: Request) -> Response:
            return await self._answered(request, right, page)

        return endpoint

    async def _answered(self, request: Request, right: Right, page: PersonalPage) -> Response:
        person = None
        try:
            person = await self.person(request)
            if person is None:
                return self._signed_out(request)
            asked = asked_for(request.method, request.url.path)
            wait_s = self.rates.of_account(person.name, asked, now_s=self.monotonic_s())
            if wait_s > 0:
                is_form = request.method == "POST"
                note = (await read_form(request)).one("note") if is_form else ""
                return self.too_many(request, person=person, wait_s=wait_s, note=note)
            if not person.may(right):
                return self.message(request, person=person, status=403, name="forbidden")
            return await page(request, person)
        except StoreUnavailableError as error:
            t = self.words(request)
            text = t("store_text", reason=t(f"store_{error.reason}"))
            return self.message(request, person=person, status=503, name="store", text=text)
        except ReviewError as error:
            return self.message(request, person=person, status=409, name="refused", text=str(error))

    def address(self, scope: Scope) -> str | None:
        """Return whose address a request comes from, for limits; None: not known."""
        client = None if scope.get("client") is None else str(scope["client"][0])
        proxy = self.options.proxy
        return client if proxy is None else proxy.address_in(scope["headers"], client=client)

    def too_many(
        self, request: Request, *, person: Person | None, wait_s: float, note: str = ""
    ) -> Response:
        """Return the page that says how long to wait, with what was typed."""
        seconds = math.ceil(wait_s)
        text = self.words(request)("too_many_text", seconds=seconds)
        response = self.message(
            request, person=person, status=429, name="too_many", text=text, note=note
        )
        response.headers["retry-after"] = str(seconds)
        return response

    async def person(self, request: Request) -> Person | None:
        """Return who makes a request."""
        return await self.access.person(
            request.scope["headers"],
            request.cookies,
            client=None if request.client is None else request.client.host,
        )

    def _signed_out(self, request: Request) -> Response:
        if request.method == "GET":
            back = quote(request.url.path, safe="/")
            return RedirectResponse(f"/sign-in?back={back}", 303)
        return self.message(request, person=None, status=401, name="signed_out")

    async def on_error(self, request: Request, error: Exception) -> Response:
        """Answer what no page has answered: unknown addresses, broken forms, bugs."""
        if isinstance(error, IdentityProviderError):
            return self.message(request, person=None, status=503, name="provider")
        if isinstance(error, HTTPException):
            name = "missing" if error.status_code == 404 else "bad_request"
            return self.message(request, person=None, status=error.status_code, name=name)
        return self.message(request, person=None, status=500, name="bug")


def local_path(path: str) -> str:
    """Return a path of this site to go back to; ``/`` if it is something else."""
    is_ours = path.startswith("/") and not path.startswith("//") and "\\" not in path
    return path if is_ours and path.isprintable() and path.isascii() else "/"
