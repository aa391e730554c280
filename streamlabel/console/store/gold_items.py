"""Gold: items with a known answer, shown again without saying so, to measure reviewers."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Text, cast, exists, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from streamlabel.console.store.items import Event, Gold
from streamlabel.console.store.parts import Part
from streamlabel.console.store.rows import ms
from streamlabel.console.store.tables import gold, item, verdict
from streamlabel.errors import ItemGoneError

__all__ = ["Golds", "copied", "gold_for"]


class Golds(Part):
    """Which items have a known answer."""

    async def add_gold(
        self, item_id: int, *, labels: Collection[str], by: str, now: datetime
    ) -> Gold:
        """See ``api.Store``."""
        async with self.database.writing() as connection:
            row = await self._locked(connection, item_id)
            if row["text"] is None:
                raise ItemGoneError("the text of this item was erased")
            values = {"task": row["task"], "labels": sorted(set(labels)), "is_enabled": True}
            query = insert(gold).values(item_id=item_id, **values).returning(gold.c.gold_id)
            gold_id = (await connection.execute(query)).scalar_one()
            detail = {"gold_id": gold_id, "labels": values["labels"]}
            event = Event(at=now, actor=by, action="gold_added", item_id=item_id, detail=detail)
            await self._append(connection, [event])
        return Gold(
            gold_id=gold_id, item_id=item_id, task=row["task"] or None, labels=tuple(sorted(labels))
        )

    async def remove_gold(self, gold_id: int, *, by: str, now: datetime) -> None:
        """See ``api.Store``."""
        async with self.database.writing() as connection:
            query = (
                update(gold)
                .where(gold.c.gold_id == gold_id, gold.c.is_enabled)
                .values(is_enabled=False)
                .returning(gold.c.item_id)
            )
            item_id = (await connection.execute(query)).scalar_one_or_none()
            if item_id is None:
                raise ItemGoneError(f"there is no gold item {gold_id}")
            detail = {"gold_id": gold_id}
            event = Event(at=now, actor=by, action="gold_removed", item_id=item_id, detail=detail)
            await self._append(connection, [event])

    async def golds(self) -> Sequence[Gold]:
        """See ``api.Store``."""
        async with self.database.reading() as connection:
            rows = (await connection.execute(select(gold).order_by(gold.c.gold_id))).all()
        return [
            Gold(
                gold_id=row.gold_id,
                item_id=row.item_id,
                task=row.task or None,
                labels=tuple(row.labels),
                is_enabled=row.is_enabled,
            )
            for row in rows
        ]


async def gold_for(
    connection: AsyncConnection,
    reviewer: str,
    tasks: Sequence[str] | None,
    *,
    pseudonym: str,
    now: datetime,
) -> int | None:
    """Return a new item of a gold that this reviewer has not seen; None: there is none."""
    name = literal("gold/") + cast(gold.c.gold_id, Text) + literal(f"/{pseudonym}")
    shown = item.alias()
    is_known = exists().where(shown.c.review_id == name) | exists().where(
        verdict.c.item_id == gold.c.item_id, verdict.c.reviewer == reviewer
    )
    query = (
        select(gold)
        .join(item, item.c.item_id == gold.c.item_id)
        .where(gold.c.is_enabled, item.c.text.is_not(None), ~is_known)
        .order_by(gold.c.gold_id)
        .limit(1)
    )
    if tasks is not None:
        query = query.where(gold.c.task.in_(tasks))
    row = (await connection.execute(query)).first()
    if row is None:
        return None
    values = {
        "review_id": f"gold/{row.gold_id}/{pseudonym}",
        "purpose": "gold",
        "review_probability": None,
        "gold_id": row.gold_id,
    }
    return await copied(connection, row.item_id, values, now=now)


# What a copy of an item has of its own.
_OWN = {
    "item_id",
    "state",
    "open_from_ms",
    "generation",
    "parent_id",
    "gold_id",
    "verdict_id",
    "labels",
    "decided_ms",
    "arrived_ms",
    "appeal_id",
    "appealed_labels",
}


async def copied(
    connection: AsyncConnection, item_id: int, values: dict[str, Any], *, now: datetime
) -> int:
    """Insert a copy of an item with other values; return its id."""
    source = (
        (await connection.execute(select(item).where(item.c.item_id == item_id))).mappings().one()
    )
    row = {name: value for name, value in source.items() if name not in _OWN}
    own = {"state": "open", "open_from_ms": 0, "generation": 0, "arrived_ms": ms(now)}
    query = insert(item).values(row | own | values).returning(item.c.item_id)
    return int((await connection.execute(query)).scalar_one())
