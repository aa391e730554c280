"""Finds the person behind a request, and starts sessions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from streamlabel.console.access.attempts import Attempts
from streamlabel.console.access.one_time_link import OneTimeLink
from streamlabel.console.access.passwords import Passwords
from streamlabel.console.access.people import Person
from streamlabel.console.access.provider import Provider
from streamlabel.console.access.proxy import TrustedProxy
from streamlabel.console.access.sessions import Sessions
from streamlabel.console.store.api import Store
from streamlabel.console.store.items import Role, User
from streamlabel.errors import SignInError

__all__ = ["Access"]

_WRONG = "name or password is wrong"
_BY: Final = {"provider": "identity provider", "link": "console"}  # in the audit log


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """All ways into the console; those that are None are closed.

    Attributes:
        store: has the accounts.
        sessions: writes and reads the cookies.
        passwords: of local accounts.
        provider: OpenID Connect.
        proxy: that signs in by a header.
        link: that the console printed when it started.
        attempts: that failed lately.
    """

    store: Store
    sessions: Sessions
    passwords: Passwords | None = None
    provider: Provider | None = None
    proxy: TrustedProxy | None = None
    link: OneTimeLink | None = None
    attempts: Attempts = field(default_factory=Attempts)

    async def person(
        self,
        headers: Sequence[tuple[bytes, bytes]],
        cookies: Mapping[str, str],
        *,
        client: str | None,
    ) -> Person | None:
        """Return who makes a request; None: nobody, or an account that was removed."""
        if self.proxy is not None:
            name = self.proxy.name_in(headers, client=client)
            if name is not None:
                user = await self._active(name)
                return None if user is None else Person.of(user, way="proxy")
        session = self.sessions.read(cookies.get(self.sessions.cookie, ""))
        if session is None:
            return None
        user = await self._active(session.name)
        if user is None or not self.sessions.holds(session, user):
            return None
        return Person.of(user, way=session.way)

    async def by_password(self, name: str, password: str, *, address: str, now_s: float) -> str:
        """Return the cookie of a new session.

        Raises:
            SignInError: wrong, or too many attempts. It does not say which of the two was wrong.
        """
        if self.passwords is None:
            raise SignInError("this console has no accounts with passwords")
        wait_s = self.attempts.wait_s(address=address, name=name, now_s=now_s)
        if wait_s > 0:
            raise SignInError(f"too many attempts; wait {math.ceil(wait_s / 60)} min")
        # before the hash, which takes long: attempts at the same time count, too
        self.attempts.failed(address=address, name=name, now_s=now_s)
        user = await self._active(name)
        hashed = None if user is None else user.password_hash
        if not await self.passwords.fits(password, password_hash=hashed) or user is None:
            raise SignInError(_WRONG)
        self.attempts.succeeded(address=address)
        return self.sessions.begin(user, way="password")

    async def by_name(self, name: str, *, way: Literal["provider", "link"]) -> str:
        """Return the cookie of a new session of somebody whom another system has signed in.

        Raises:
            SignInError: the console has no such account.
        """
        user = await self._active(name)
        if user is None:
            raise SignInError(
                f"{name} has no account here; an administrator adds it with"
                " `streamlabel console add-user`"
            )
        return self.sessions.begin(user, way=way)

    async def by_other(
        self, name: str, role: Role | None, *, way: Literal["provider", "link"], now: datetime
    ) -> str:
        """Return the cookie of a new session of somebody whom a provider or a link signs in.

        With a role the account is made, or its role changed, if need be. One that was removed here
        stays removed.

        Raises:
            SignInError: the console has no such account, or has removed it.
        """
        user = await self.store.user(name)
        if role is not None and user is None:
            await self.store.add_user(User(name=name, role=role), by=_BY[way], now=now)
        elif role is not None and user is not None and user.role != role and not user.is_disabled:
            await self.store.set_role(name, role, by=_BY[way], now=now)
        return await self.by_name(name, way=way)

    async def _active(self, name: str) -> User | None:
        user = await self.store.user(name)
        return None if user is None or user.is_disabled else user
