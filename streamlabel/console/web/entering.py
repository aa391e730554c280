"""Signing in and out, and the choices of the view."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from streamlabel.console.web.forms import read_form
from streamlabel.console.web.site import Site, local_path
from streamlabel.console.web.view import COOKIE, MAX_AGE_S, View
from streamlabel.errors import SignInError, StoreUnavailableError

__all__ = ["Entering"]


class Entering:
    """The pages for people who are not signed in."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._access = site.access

    def routes(self) -> Sequence[Route]:
        """Return the addresses."""
        routes = [
            Route("/", self._home),
            Route("/sign-in", self._form, methods=["GET"]),
            Route("/sign-in", self._sign_in, methods=["POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
            Route("/view", self._view, methods=["POST"]),
        ]
        if self._access.provider is not None:
            routes.append(Route("/sign-in/provider", self._leave))
            routes.append(Route("/sign-in/back", self._arrive, name="provider_back"))
        if self._access.link is not None:
            routes.append(Route("/enter/{token}", self._enter))
        return routes

    async def _home(self, request: Request) -> Response:
        person = await self._site.person(request)
        if person is None:
            return RedirectResponse("/sign-in", 303)
        return RedirectResponse("/review", 303)

    async def _form(self, request: Request) -> Response:
        return self._page(request, back=local_path(request.query_params.get("back", "/")))

    def _page(
        self,
        request: Request,
        *,
        back: str = "/",
        name: str = "",
        problem: str = "",
        status: int = 200,
    ) -> Response:
        return self._site.page(
            request,
            "sign_in.html",
            person=None,
            status=status,
            local=self._access.passwords is not None,
            oidc=self._access.provider is not None,
            back=back,
            name=name,
            problem=problem,
        )

    async def _sign_in(self, request: Request) -> Response:
        form = await read_form(request)
        name = form.one("name").strip()
        back = local_path(form.one("back"))
        address = self._site.address(request.scope) or ""
        try:
            cookie = await self._access.by_password(
                name, form.one("password"), address=address, now_s=self._site.monotonic_s()
            )
        except SignInError as error:
            return self._page(request, back=back, name=name, problem=str(error), status=403)
        except StoreUnavailableError as error:
            return self._page(request, back=back, name=name, problem=str(error), status=503)
        return self._entered(cookie, back=back)

    async def _enter(self, request: Request) -> Response:
        link = self._access.link
        if link is None:
            raise AssertionError("the route exists only with a link. This is a bug.")
        client = None if request.client is None else request.client.host
        try:
            name = link.redeem(
                request.path_params["token"], client=client, now_s=self._site.monotonic_s()
            )
            now = self._site.now()
            return self._entered(await self._access.by_other(name, link.role, way="link", now=now))
        except SignInError as error:
            return self._page(request, problem=str(error), status=403)

    async def _leave(self, request: Request) -> Response:
        provider = self._access.provider
        if provider is None:
            raise AssertionError("the route exists only with a provider. This is a bug.")
        origins = self._site.options.origins
        path = request.url_for("provider_back")
        callback = f"{min(origins)}{path.path}" if origins else str(path)
        return await provider.leave(request, callback=callback)

    async def _arrive(self, request: Request) -> Response:
        provider = self._access.provider
        if provider is None:
            raise AssertionError("the route exists only with a provider. This is a bug.")
        try:
            name, role = await provider.arrive(request)
            now = self._site.now()
            return self._entered(await self._access.by_other(name, role, way="provider", now=now))
        except SignInError as error:
            return self._page(request, problem=str(error), status=403)

    def _entered(self, cookie: str, *, back: str = "/") -> Response:
        sessions = self._access.sessions
        response = RedirectResponse(back, 303)
        response.set_cookie(
            sessions.cookie, cookie, httponly=True, samesite="lax", secure=sessions.secure
        )
        return response

    async def _sign_out(self, request: Request) -> Response:
        sessions = self._access.sessions
        response = RedirectResponse("/sign-in", 303)
        response.delete_cookie(
            sessions.cookie, httponly=True, samesite="lax", secure=sessions.secure
        )
        return response

    async def _view(self, request: Request) -> Response:
        form = await read_form(request)
        view = View.read(request.cookies.get(COOKIE, ""))
        for name, value in form.fields:
            view = view.having(name, value)
        response = RedirectResponse(local_path(form.one("back")), 303)
        response.set_cookie(
            COOKIE,
            view.cookie(),
            max_age=MAX_AGE_S,
            httponly=True,
            samesite="lax",
            secure=self._access.sessions.secure,
        )
        return response
