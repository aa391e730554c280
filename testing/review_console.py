"""A console process without pages, for runs that kill it: two calls over HTTP and the loops.

``python -m testing.review_console FILE`` with the settings as JSON. Prints its port.
"""

import asyncio
import json
import sys
import uuid
from pathlib import Path
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streamlabel.config.settings import Settings
from streamlabel.console.serving import serve
from streamlabel.console.store.items import Decision, Lease
from streamlabel.console.store.opening import SqlStore, open_store
from streamlabel.console.topics.loops import now_of
from streamlabel.errors import ItemGoneError, StaleLeaseError, StoreUnavailableError
from streamlabel.models.core.system_clock import SystemClock

CLOCK = SystemClock()


def application(store: SqlStore) -> Starlette:
    """Return the two calls of a scripted reviewer."""

    async def take(request: Request) -> Response:
        asked = await request.json()
        now = now_of(CLOCK)
        try:
            found = await store.next_item(reviewer=asked["reviewer"], tasks=None, now=now)
        except StoreUnavailableError as error:
            return JSONResponse({"why": error.reason}, 503)
        if found is None:
            return JSONResponse({})
        item, lease = found
        return JSONResponse(
            {"item": item.item_id, "review": item.review_id, "generation": lease.generation}
        )

    async def decide(request: Request) -> Response:
        asked = await request.json()
        now = now_of(CLOCK)
        lease = Lease(asked["item"], asked["reviewer"], asked["generation"], now)
        decision = Decision("correct", (asked["label"],), duration_ms=1)
        try:
            await store.decide(lease, decision, now=now)
        except (StaleLeaseError, ItemGoneError) as error:
            return JSONResponse({"why": str(error)}, 409)
        except StoreUnavailableError as error:
            return JSONResponse({"why": error.reason}, 503)
        return JSONResponse({})

    return Starlette(
        routes=[
            Route("/next", take, methods=["POST"]),
            Route("/decide", decide, methods=["POST"]),
        ]
    )


async def _main(given: dict[str, Any]) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    settings = Settings.model_validate(given)
    store = await open_store(settings.console)
    await serve(settings, store, application(store), holder=uuid.uuid4().hex, clock=CLOCK)


if __name__ == "__main__":
    asyncio.run(_main(json.loads(Path(sys.argv[1]).read_text())))
