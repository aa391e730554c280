"""Puts the pages together: ``make_app``."""

import secrets
from collections.abc import Callable
from datetime import datetime

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from streamlabel.console.access.rates import Rates
from streamlabel.console.access.signing_in import Access
from streamlabel.console.store.api import Store
from streamlabel.console.web.accounts import Accounts
from streamlabel.console.web.entering import Entering
from streamlabel.console.web.guard import Guard
from streamlabel.console.web.leading import Leading
from streamlabel.console.web.lease_form import LeaseForms
from streamlabel.console.web.options import PageOptions
from streamlabel.console.web.paced import Paced
from streamlabel.console.web.rendering import Renderer
from streamlabel.console.web.reviewing import Reviewing
from streamlabel.console.web.site import Site
from streamlabel.errors import IdentityProviderError, StoreUnavailableError

__all__ = ["make_app"]

_AWAY_S = 600  # at the identity provider


def make_app(
    store: Store,
    access: Access,
    options: PageOptions,
    *,
    renderer: Renderer,
    now: Callable[[], datetime],
    monotonic_s: Callable[[], float],
) -> Starlette:
    """Return the pages as an ASGI application.

    Args:
        store: of the items and accounts.
        access: the ways in.
        options: settings of the pages.
        renderer: made by ``load_renderer``, before the event loop runs: it reads files.
        now: returns the time, aware and in UTC.
        monotonic_s: returns seconds that never go back.
    """
    site = Site(
        store=store,
        access=access,
        options=options,
        renderer=renderer,
        leases=LeaseForms(options.signature_secret),
        rates=Rates(options.rates),
        now=now,
        monotonic_s=monotonic_s,
    )
    middleware = [
        Middleware(Guard, origins=options.origins, secure=options.secure),
        Middleware(Paced, site=site),
    ]
    if access.provider is not None:  # keeps state and nonce while somebody is at the provider
        middleware.append(
            Middleware(
                SessionMiddleware,
                secret_key=options.signature_secret or secrets.token_hex(32),
                session_cookie="streamlabel-provider",
                max_age=_AWAY_S,
                same_site="lax",
                https_only=options.secure,
            )
        )
    return Starlette(
        routes=[
            *Entering(site).routes(),
            *Reviewing(site).routes(),
            *Leading(site).routes(),
            *Accounts(site).routes(),
            Route("/static/{digest}/{name}", _statics(site)),
            Route("/readyz", _readiness(store)),
        ],
        middleware=middleware,
        exception_handlers={
            HTTPException: site.on_error,
            IdentityProviderError: site.on_error,
            Exception: site.on_error,
        },
    )


def _statics(site: Site) -> Callable[[Request], Response]:
    def static(request: Request) -> Response:
        file = site.renderer.statics.get(request.path_params["name"])
        if file is None or file.address != request.url.path:
            raise HTTPException(404)
        keep = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(file.content, media_type=file.media_type, headers=keep)

    return static


def _readiness(store: Store) -> Callable[[Request], Response]:
    async def ready(request: Request) -> Response:
        try:
            await store.health()
        except StoreUnavailableError as error:
            return PlainTextResponse(f"{error.reason}\n", 503)
        return PlainTextResponse("ready\n")

    return ready  # type: ignore[return-value]  # Starlette takes both kinds
