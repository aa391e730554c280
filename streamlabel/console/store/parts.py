"""What the parts of the store share: the database, the rules, and how an item is given back."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from streamlabel.console.store import audit_log
from streamlabel.console.store.database import Database
from streamlabel.console.store.items import Event, Item
from streamlabel.console.store.rows import item_of
from streamlabel.console.store.rules import StoreRules
from streamlabel.console.store.tables import exclusion, item, lease
from streamlabel.errors import ItemGoneError

__all__ = ["Part", "exclude", "open_again"]


class Part:
    """A part of the store."""

    def __init__(self, database: Database, rules: StoreRules) -> None:
        self.database = database
        self.rules = rules

    async def _append(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        await audit_log.append(self.database, connection, events)

    async def _locked(self, connection: AsyncConnection, item_id: int) -> Any:  # noqa: ANN401 a row
        """Return the row of an item, which nobody else changes until the transaction ends."""
        query = select(item).where(item.c.item_id == item_id).with_for_update()
        row = (await connection.execute(query)).mappings().first()
        if row is None:
            raise ItemGoneError(f"there is no item {item_id}")
        return row

    async def _item(self, connection: AsyncConnection, item_id: int) -> Item:
        query = select(item).where(item.c.item_id == item_id)
        row = (await connection.execute(query)).mappings().first()
        if row is None:
            raise ItemGoneError(f"there is no item {item_id}")
        return item_of(row)


async def open_again(connection: AsyncConnection, item_ids: Sequence[int]) -> None:
    """Give leased items back; their leases are removed.

    A gold item is one reviewer's own: it is removed, and shown to them again another time.
    """
    if not item_ids:
        return
    await connection.execute(delete(lease).where(lease.c.item_id.in_(item_ids)))
    leased = item.c.item_id.in_(item_ids) & (item.c.state == "leased")
    await connection.execute(delete(item).where(leased & (item.c.purpose == "gold")))
    await connection.execute(update(item).where(leased).values(state="open", open_from_ms=0))


async def exclude(connection: AsyncConnection, item_id: int, reviewer: str) -> None:
    """Never offer this item to this reviewer."""
    found = select(func.count()).where(
        exclusion.c.item_id == item_id, exclusion.c.reviewer == reviewer
    )
    if not (await connection.execute(found)).scalar_one():
        await connection.execute(exclusion.insert().values(item_id=item_id, reviewer=reviewer))
