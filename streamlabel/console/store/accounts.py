"""Accounts: who there is, in which role. Passwords are checked elsewhere."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, insert, select, update

from streamlabel.console.store.items import Event, Role, User
from streamlabel.console.store.parts import Part, open_again
from streamlabel.console.store.tables import lease
from streamlabel.console.store.tables import user as table
from streamlabel.errors import UserExistsError, UserUnknownError

__all__ = ["Accounts"]


class Accounts(Part):
    """Adds, changes and removes accounts. Every change goes into the audit log."""

    async def users(self) -> Sequence[User]:
        """See ``api.Store``."""
        async with self.database.reading() as connection:
            rows = (await connection.execute(select(table).order_by(table.c.name))).mappings()
            return [_user_of(row) for row in rows]

    async def user(self, name: str) -> User | None:
        """See ``api.Store``."""
        async with self.database.reading() as connection:
            query = select(table).where(table.c.name == name)
            row = (await connection.execute(query)).mappings().first()
        return None if row is None else _user_of(row)

    async def add_user(self, user: User, *, by: str, now: datetime) -> None:
        """See ``api.Store``."""
        values: dict[str, Any] = {
            "role": user.role,
            "password_hash": user.password_hash,
            "tasks": None if user.tasks is None else list(user.tasks),
            "is_disabled": user.is_disabled,
        }
        async with self.database.writing() as connection:
            await self.database.lock(connection, "accounts")
            query = select(table.c.is_disabled).where(table.c.name == user.name)
            is_disabled = (await connection.execute(query)).scalar_one_or_none()
            if is_disabled is None:
                await connection.execute(insert(table).values(name=user.name, **values))
            elif is_disabled:
                await connection.execute(
                    update(table).where(table.c.name == user.name).values(values)
                )
            else:
                raise UserExistsError(f"there is an account {user.name} already")
            detail = {"user": user.name, "role": user.role, "tasks": values["tasks"]}
            await self._append(
                connection, [Event(at=now, actor=by, action="user_added", detail=detail)]
            )

    async def set_role(self, name: str, role: Role, *, by: str, now: datetime) -> None:
        """See ``api.Store``."""
        await self._change(name, {"role": role}, "role_changed", {"role": role}, by=by, now=now)

    async def set_tasks(
        self, name: str, tasks: Sequence[str] | None, *, by: str, now: datetime
    ) -> None:
        """See ``api.Store``."""
        names = None if tasks is None else list(tasks)
        await self._change(
            name, {"tasks": names}, "tasks_changed", {"tasks": names}, by=by, now=now
        )

    async def set_password(self, name: str, password_hash: str, *, by: str, now: datetime) -> None:
        """See ``api.Store``."""
        values = {"password_hash": password_hash}
        await self._change(name, values, "password_changed", {}, by=by, now=now)

    async def remove_user(self, name: str, *, by: str, now: datetime) -> None:
        """See ``api.Store``."""
        values = {"is_disabled": True, "password_hash": None}
        await self._change(name, values, "user_removed", {}, by=by, now=now)

    async def _change(
        self,
        name: str,
        values: Mapping[str, Any],
        action: str,
        detail: Mapping[str, Any],
        *,
        by: str,
        now: datetime,
    ) -> None:
        async with self.database.writing() as connection:
            await self.database.lock(connection, f"lease of {name}")
            done = await connection.execute(
                update(table).where(table.c.name == name, ~table.c.is_disabled).values(**values)
            )
            if not done.rowcount:
                raise UserUnknownError(f"there is no account {name}")
            events = [Event(at=now, actor=by, action=action, detail={"user": name, **detail})]
            if values.get("is_disabled"):
                query = select(lease.c.item_id).where(lease.c.reviewer == name)
                held = (await connection.execute(query)).scalars().all()
                await open_again(connection, held)
                events += [
                    Event(at=now, actor=by, action="released", item_id=each) for each in held
                ]
            await self._append(connection, events)


def _user_of(row: RowMapping) -> User:
    return User(
        name=row["name"],
        role=row["role"],
        password_hash=row["password_hash"],
        tasks=None if row["tasks"] is None else tuple(row["tasks"]),
        is_disabled=row["is_disabled"],
    )
