"""The page of accounts, for admins: who there is, in which role, for which tasks."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, cast, get_args

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamlabel.console.access.people import Person
from streamlabel.console.store.items import Role, User
from streamlabel.console.web.forms import Form, read_form
from streamlabel.console.web.site import Site
from streamlabel.errors import ReviewError, UserUnknownError

__all__ = ["Accounts"]

_NAME_CHARACTERS: Final = 200
_PASSWORD_BYTES: Final = 12  # 16 characters


class Accounts:
    """Every change is an entry of the audit log, with the admin's name."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._store = site.store

    def routes(self) -> Sequence[Route]:
        """Return the addresses."""
        personal = self._site.personal
        return [
            Route("/accounts", personal("administer", self._list), methods=["GET"]),
            Route("/accounts", personal("administer", self._change), methods=["POST"]),
        ]

    async def _list(self, request: Request, person: Person) -> Response:
        return await self._page(request, person)

    async def _page(
        self,
        request: Request,
        person: Person,
        *,
        problem: str = "",
        password_of: str = "",
        password: str = "",
    ) -> Response:
        return self._site.page(
            request,
            "accounts.html",
            person=person,
            page="accounts",
            status=409 if problem else 200,
            users=await self._store.users(),
            roles=get_args(Role),
            local=self._site.access.passwords is not None,
            problem=problem,
            password_of=password_of,
            password=password,
        )

    async def _change(self, request: Request, person: Person) -> Response:
        form = await read_form(request)
        changes: dict[str, Callable[[Form, Person], Awaitable[str]]] = {
            "add": self._add,
            "save": self._save,
            "password": self._renew,
            "disable": self._disable,
        }
        change = changes.get(form.one("action"))
        if change is None:
            raise HTTPException(400, "no such action")
        name = form.one("name").strip()
        if name == person.name and form.one("action") != "password":
            text = self._site.words(request)("accounts_own")
            return await self._page(request, person, problem=text)
        try:
            password = await change(form, person)
        except ReviewError as error:
            return await self._page(request, person, problem=str(error))
        return await self._page(request, person, password_of=name, password=password)

    async def _add(self, form: Form, person: Person) -> str:
        name = form.one("name").strip()
        if not 0 < len(name) <= _NAME_CHARACTERS or not name.isprintable():
            raise UserUnknownError(f"a name has 1 to {_NAME_CHARACTERS} visible characters")
        password, hashed = await self._new_password()
        user = User(
            name=name, role=_role(form), tasks=_tasks(form.one("tasks")), password_hash=hashed
        )
        await self._store.add_user(user, by=person.name, now=self._site.now())
        return password

    async def _save(self, form: Form, person: Person) -> str:
        name, role, tasks = form.one("name"), _role(form), _tasks(form.one("tasks"))
        known = await self._store.user(name)
        if known is None or known.is_disabled:
            raise UserUnknownError(f"there is no account {name}")
        now = self._site.now()
        if role != known.role:
            await self._store.set_role(name, role, by=person.name, now=now)
        if tasks != known.tasks:
            await self._store.set_tasks(name, tasks, by=person.name, now=now)
        return ""

    async def _renew(self, form: Form, person: Person) -> str:
        password, hashed = await self._new_password()
        if hashed is None:
            raise UserUnknownError("this console has no passwords")
        name, now = form.one("name"), self._site.now()
        await self._store.set_password(name, hashed, by=person.name, now=now)
        return password

    async def _disable(self, form: Form, person: Person) -> str:
        await self._store.remove_user(form.one("name"), by=person.name, now=self._site.now())
        return ""

    async def _new_password(self) -> tuple[str, str | None]:
        """Return a random password, shown once, and its hash; nothing without local accounts."""
        passwords = self._site.access.passwords
        if passwords is None:
            return "", None
        password = secrets.token_urlsafe(_PASSWORD_BYTES)
        return password, await passwords.hashed(password)


def _role(form: Form) -> Role:
    role = form.one("role")
    if role not in get_args(Role):
        raise HTTPException(400, "no such role")
    return cast("Role", role)


def _tasks(text: str) -> tuple[str, ...] | None:
    """Return the names in a list with commas; None if it is empty: all tasks."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip())) or None
