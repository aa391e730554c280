"""Items that share a key of nearly equal texts, which their review records brought.

One row for each key of an open item: it is removed when the item is decided, so that what a page
looks up does not grow with the waves of the past.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, RowMapping, delete, exists, insert, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from streamlabel.console.store.items import BLIND, Item
from streamlabel.console.store.rows import clean
from streamlabel.console.store.tables import item, near_duplicate

__all__ = ["forget", "remember", "shares_a_key", "sharing"]

# Leased items have rows, too: at most one of each reviewer, who are fewer at a time.
_LEASED: Final = 64


def _stored(task: str | None, purpose: str, keys: Sequence[str]) -> list[str]:
    """Return keys as they are stored: of one length, and different for items decided apart."""
    own = f"{clean(task or '')}\0{purpose}\0"
    digests = (
        hashlib.blake2b((own + clean(key)).encode(), digest_size=16).hexdigest() for key in keys
    )
    return list(dict.fromkeys(digests))


async def remember(connection: AsyncConnection, rows: Sequence[RowMapping]) -> None:
    """Store the keys of items that are open again, or new; those without keys are left out."""
    found = [
        {"key": key, "item_id": row["item_id"]}
        for row in rows
        if row["near_keys"] and row["purpose"] not in BLIND
        for key in _stored(row["task"], row["purpose"], row["near_keys"])
    ]
    if found:
        await connection.execute(insert(near_duplicate), found)


async def forget(connection: AsyncConnection, item_ids: Sequence[int]) -> None:
    """Remove the keys of items that are open no longer."""
    await connection.execute(delete(near_duplicate).where(near_duplicate.c.item_id.in_(item_ids)))


async def sharing(connection: AsyncConnection, found: Item, *, limit: int) -> Sequence[int]:
    """Return other items that share a key with one, in order of id; some may be leased.

    For each key the first ones along its index are read: a wave may have any size.
    """
    first = [
        select(near_duplicate.c.item_id)
        .where(near_duplicate.c.key == key)
        .order_by(near_duplicate.c.item_id)
        .limit(limit + _LEASED)
        .subquery()
        for key in _stored(found.task, found.purpose, found.near_keys or ())
    ]
    query = union_all(*(select(each.c.item_id) for each in first))
    ids = set((await connection.execute(query)).scalars())
    return sorted(ids - {found.item_id})[: limit + _LEASED]


def shares_a_key(found: Item) -> ColumnElement[bool]:
    """Return the condition that a row of ``item`` is like another item.

    By the keys of their review records if the item has some, else by the console's own key.
    """
    if found.near_keys is None:
        return item.c.near_key == found.near_key
    keys = _stored(found.task, found.purpose, found.near_keys)
    return exists().where(
        near_duplicate.c.item_id == item.c.item_id, near_duplicate.c.key.in_(keys)
    )
