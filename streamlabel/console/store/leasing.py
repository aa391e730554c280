"""Who may decide about an item now: leases with a generation and an end."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from streamlabel.console.store.gold_items import gold_for
from streamlabel.console.store.items import Event, Item, Lease
from streamlabel.console.store.parts import Part, open_again
from streamlabel.console.store.rows import at, by_console, item_of, ms, task_name
from streamlabel.console.store.tables import IS_OPEN, exclusion, item, lease, user
from streamlabel.errors import ReviewerRemovedError, StaleLeaseError

__all__ = ["Leasing"]


class Leasing(Part):
    """Hands out items, and takes them back."""

    async def next_item(
        self, *, reviewer: str, tasks: Collection[str | None] | None, now: datetime
    ) -> tuple[Item, Lease] | None:
        """See ``api.Store``."""
        names = None if tasks is None else sorted({task_name(task) for task in tasks})
        async with self.database.writing() as connection:
            await self.database.lock(connection, f"lease of {reviewer}")
            await _refuse_removed(connection, reviewer)
            events = await self._expired(connection, now)
            held = await _held(connection, reviewer)
            if held is not None and names is not None and held["task"] not in names:
                await open_again(connection, [held["item_id"]])
                events.append(_event(now, reviewer, "released", held["item_id"]))
                held = None
            item_id = held["item_id"] if held is not None else None
            if item_id is None and self.rules.draws_gold():
                item_id = await gold_for(
                    connection, reviewer, names, pseudonym=self.rules.pseudonym(reviewer), now=now
                )
            if item_id is None:
                item_id = await self._most_urgent(connection, reviewer, names, now)
            found = None
            if item_id is not None:
                found = await self._leased(connection, item_id, reviewer, now)
                if held is None:
                    events.append(_event(now, reviewer, "leased", item_id))
            await self._append(connection, events)
        return found

    async def _expired(self, connection: AsyncConnection, now: datetime) -> list[Event]:
        """Give back what was not decided in time. Returns what happened."""
        now_ms = ms(now)
        # After a clock has jumped back, a lease would last longer than its time to live.
        latest_ms = now_ms + self.rules.lease_ms
        await connection.execute(
            update(lease).where(lease.c.until_ms > latest_ms).values(until_ms=latest_ms)
        )
        latest_ms = now_ms + self.rules.undo_ms
        await connection.execute(
            update(item)
            .where(IS_OPEN, item.c.open_from_ms > latest_ms)
            .values(open_from_ms=latest_ms)
        )
        over = (
            await connection.execute(
                select(lease.c.item_id, lease.c.reviewer)
                .where(lease.c.until_ms <= now_ms)
                .with_for_update(skip_locked=True)
            )
        ).all()
        await open_again(connection, [row.item_id for row in over])
        return [_event(now, row.reviewer, "lease_expired", row.item_id) for row in over]

    async def _most_urgent(
        self,
        connection: AsyncConnection,
        reviewer: str,
        names: Sequence[str] | None,
        now: datetime,
    ) -> int | None:
        """Return the first item in order that this reviewer may have, locked; None: none."""
        await self.database.walk(connection)
        found = []
        for name in [None] if names is None else names:
            query = _candidates(reviewer, now).limit(1).with_for_update(skip_locked=True)
            if name is not None:  # one query a task: its index has the order
                query = query.where(item.c.task == name)
            row = (await connection.execute(query)).first()
            if row is not None:
                found.append((-row.priority, row.item_id))
        return min(found)[1] if found else None

    async def _leased(
        self, connection: AsyncConnection, item_id: int, reviewer: str, now: datetime
    ) -> tuple[Item, Lease]:
        row = (
            (
                await connection.execute(
                    update(item)
                    .where(item.c.item_id == item_id)
                    .values(state="leased", generation=item.c.generation + 1)
                    .returning(item)
                )
            )
            .mappings()
            .one()
        )
        until_ms = ms(now) + self.rules.lease_ms
        await connection.execute(delete(lease).where(lease.c.item_id == item_id))
        await connection.execute(
            insert(lease).values(
                item_id=item_id,
                reviewer=reviewer,
                generation=row["generation"],
                until_ms=until_ms,
            )
        )
        return item_of(row), Lease(item_id, reviewer, row["generation"], at(until_ms))

    async def renew(self, lease_: Lease, *, now: datetime) -> Lease:
        """See ``api.Store``."""
        until_ms = ms(now) + self.rules.lease_ms
        async with self.database.writing() as connection:
            done = await connection.execute(
                update(lease)
                .where(*_is(lease_), lease.c.until_ms > ms(now))
                .values(until_ms=until_ms)
            )
            if not done.rowcount:
                raise StaleLeaseError(
                    "the time for this item was over, or it is open in another tab"
                )
        return replace(lease_, until=at(until_ms))

    async def release(self, lease_: Lease, *, now: datetime) -> None:
        """See ``api.Store``."""
        async with self.database.writing() as connection:
            query = select(lease.c.item_id).where(*_is(lease_)).with_for_update()
            if (await connection.execute(query)).first() is None:
                return
            await open_again(connection, [lease_.item_id])
            event = _event(now, lease_.reviewer, "released", lease_.item_id)
            await self._append(connection, [event])

    async def expire(self, *, now: datetime) -> int:
        """Give back all items whose lease is over; return how many."""
        async with self.database.writing() as connection:
            events = await self._expired(connection, now)
            await self._append(connection, events)
        return len(events)


def _is(lease_: Lease) -> tuple[Any, ...]:
    return (
        lease.c.item_id == lease_.item_id,
        lease.c.reviewer == lease_.reviewer,
        lease.c.generation == lease_.generation,
    )


def _candidates(reviewer: str, now: datetime) -> Select[Any]:
    is_excluded = exists().where(
        exclusion.c.item_id == item.c.item_id, exclusion.c.reviewer == reviewer
    )
    # "+ 0", so that no database takes the index of this column, which almost all open items match,
    # and sorts them: the index of the priority has the first one at once
    is_offered = item.c.open_from_ms + 0 <= ms(now)
    return (
        select(item.c.item_id, item.c.priority)
        .where(IS_OPEN, is_offered, ~is_excluded)
        .order_by(item.c.priority.desc(), item.c.item_id)
    )


async def _held(connection: AsyncConnection, reviewer: str) -> Any:  # noqa: ANN401 a row
    query = (
        select(item.c.item_id, item.c.task)
        .join(lease, lease.c.item_id == item.c.item_id)
        .where(lease.c.reviewer == reviewer)
    )
    return (await connection.execute(query)).mappings().first()


async def _refuse_removed(connection: AsyncConnection, reviewer: str) -> None:
    query = select(user.c.is_disabled).where(user.c.name == reviewer)
    if (await connection.execute(query)).scalar_one_or_none():
        raise ReviewerRemovedError("this account was removed; ask an admin")


def _event(now: datetime, reviewer: str, action: str, item_id: int) -> Event:
    if action == "lease_expired":
        return by_console(action, now, item_id, reviewer=reviewer)
    return Event(at=now, actor=reviewer, action=action, item_id=item_id)
