"""Retention: erases texts, and what may quote them, by age or by the id of a record."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from streamlabel.console.store.items import Event
from streamlabel.console.store.near_duplicates import forget
from streamlabel.console.store.parts import Part
from streamlabel.console.store.rows import by_console, clean, ms
from streamlabel.console.store.tables import event, gold, item, lease, refused, verdict

__all__ = ["Erased", "Erasing"]

# Items of one transaction: others wait for its end.
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased.

    Attributes:
        items: whose text, metadata, key and notes are erased.
        undecided: how many of them nobody had decided.
    """

    items: int
    undecided: int


class Erasing(Part):
    """Erases texts. Labels, verdicts and the audit log stay."""

    async def purge(
        self, *, decided_days: float | None, open_days: float | None, now: datetime
    ) -> Erased:
        """Erase the texts of items that are older than the rules of retention allow.

        Args:
            decided_days: after the decision; None: never.
            open_days: after the arrival, undecided; None: never.
            now: the time.
        """
        old: list[ColumnElement[bool]] = []
        if decided_days is not None:
            limit = ms(now - timedelta(days=decided_days))
            old.append((item.c.state == "decided") & (item.c.decided_ms < limit))
        if open_days is not None:
            limit = ms(now - timedelta(days=open_days))
            waits = item.c.state.in_(["open", "leased"])
            old.append(waits & (item.c.arrived_ms < limit))
        if not old:
            return Erased(0, 0)
        return await self._erase(or_(*old), by="console", why="retention", now=now)

    async def erase_record(self, record_id: str, *, by: str, now: datetime) -> Erased:
        """Erase the texts of all items of a record, its second looks included."""
        of_record = item.c.record_id == clean(record_id)
        return await self._erase(of_record, by=by, why="requested", now=now)

    async def _erase(
        self, which: ColumnElement[bool], *, by: str, why: str, now: datetime
    ) -> Erased:
        items = undecided = 0
        while True:
            async with self.database.writing() as connection:
                query = (
                    select(item.c.item_id, item.c.state)
                    .where(which, item.c.text.is_not(None))
                    .order_by(item.c.item_id)
                    .limit(_PAGE)
                    .with_for_update()
                )
                rows = (await connection.execute(query)).all()
                await _erase_items(connection, [row.item_id for row in rows])
                for row in rows:
                    undecided += row.state != "decided"
                items += len(rows)
                await self._append(connection, [_event(row, by, why, now) for row in rows])
            if len(rows) < _PAGE:
                return Erased(items, undecided)

    async def forget_refused(self, *, days: float, now: datetime) -> int:
        """Remove old rows about refused records; return how many."""
        async with self.database.writing() as connection:
            limit = ms(now - timedelta(days=days))
            done = await connection.execute(delete(refused).where(refused.c.at_ms < limit))
        return done.rowcount


def _event(row: Any, by: str, why: str, now: datetime) -> Event:  # noqa: ANN401 a row
    if by == "console":
        return by_console("purged", now, row.item_id, why=why)
    return Event(at=now, actor=by, action="purged", item_id=row.item_id, detail={"why": why})


async def _erase_items(connection: AsyncConnection, item_ids: list[int]) -> None:
    if not item_ids:
        return
    these = item.c.item_id.in_(item_ids)
    await connection.execute(delete(lease).where(lease.c.item_id.in_(item_ids)))
    await forget(connection, item_ids)
    await connection.execute(
        update(item).where(these, item.c.state != "decided").values(state="purged")
    )
    await connection.execute(
        update(item)
        .where(these)
        .values(
            text=None,
            metadata=None,
            key=None,
            near_key=None,
            near_keys=None,
            thread=None,
            relation=None,
        )
    )
    await connection.execute(
        update(gold).where(gold.c.item_id.in_(item_ids)).values(is_enabled=False)
    )
    await connection.execute(
        update(verdict).where(verdict.c.item_id.in_(item_ids)).values(note=None)
    )
    await connection.execute(
        update(event).where(event.c.item_id.in_(item_ids)).values(note=None, note_salt=None)
    )
