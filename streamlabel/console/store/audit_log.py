"""The audit log: append-only, each entry with a hash over itself and the one before.

To change or remove an entry, somebody has to compute all later hashes again, and the last hash then
differs from one that was written down elsewhere. A note is in the hash by a salted digest only, so
that it can be erased.
"""

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import RowMapping, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from streamlabel.console.store.database import Database
from streamlabel.console.store.items import Event
from streamlabel.console.store.rows import at, clean, ms
from streamlabel.console.store.tables import event as table

__all__ = ["Verified", "append", "event_of", "verify"]

# Before the first entry.
_GENESIS: Final = "0" * 64
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Verified:
    """What a check of the audit log found.

    Attributes:
        entries: that are intact, from the first.
        last_hash: of the last intact one; write it down elsewhere and compare it next time.
        problem: what is wrong with the next one; None if nothing is.
        holds_expected: whether one of the entries has the expected hash.
    """

    entries: int
    last_hash: str
    problem: str | None
    holds_expected: bool


async def append(database: Database, connection: AsyncConnection, events: Sequence[Event]) -> None:
    """Append entries; the last thing that a transaction does, because others wait for its end."""
    if not events:
        return
    await database.lock(connection, "audit log")
    head = (
        await connection.execute(
            select(table.c.event_id, table.c.hash).order_by(table.c.event_id.desc()).limit(1)
        )
    ).first()
    number, last = (0, _GENESIS) if head is None else (head.event_id, head.hash)
    rows = []
    for each in events:
        number += 1
        row = _row(each, number, last)
        last = row["hash"]
        rows.append(row)
    await connection.execute(insert(table), rows)


def _row(event: Event, number: int, last: str) -> dict[str, object]:
    salt = None if event.note is None else secrets.token_hex(16)
    row: dict[str, object] = {
        "event_id": number,
        "at_ms": ms(event.at),
        "actor": clean(event.actor),
        "action": event.action,
        "item_id": event.item_id,
        "detail": json.dumps(dict(event.detail), sort_keys=True),
        "note": event.note,
        "note_salt": salt,
        "note_digest": None if salt is None else _note_digest(salt, event.note or ""),
    }
    return row | {"hash": _hash(last, row)}


def _note_digest(salt: str, note: str) -> str:
    return hashlib.sha256((salt + note).encode("utf-8", "surrogatepass")).hexdigest()


def _hash(last: str, row: "dict[str, object] | RowMapping") -> str:
    names = ("event_id", "at_ms", "actor", "action", "item_id", "detail", "note_digest")
    body = json.dumps([last, *(row[name] for name in names)])
    return hashlib.sha256(body.encode()).hexdigest()


def event_of(row: RowMapping) -> Event:
    """Return an entry from its row."""
    return Event(
        at=at(row["at_ms"]),
        actor=row["actor"],
        action=row["action"],
        item_id=row["item_id"],
        detail=json.loads(row["detail"]),
        note=row["note"],
        event_id=row["event_id"],
        hash=row["hash"],
    )


async def verify(database: Database, *, expected: str | None = None) -> Verified:
    """Check every entry, in order.

    Args:
        database: whose log.
        expected: the last hash of an earlier check, which must still be there.

    Raises:
        StoreUnavailableError: the database cannot be read.
    """
    number, last, is_there = 0, _GENESIS, expected is None
    while True:
        async with database.reading() as connection:
            page = (
                await connection.execute(
                    select(table)
                    .where(table.c.event_id > number)
                    .order_by(table.c.event_id)
                    .limit(_PAGE)
                )
            ).mappings()
            rows = page.all()
        for row in rows:
            if problem := _problem(row, number, last):
                return Verified(number, last, problem, is_there)
            number, last = number + 1, row["hash"]
            is_there = is_there or last == expected
        if len(rows) < _PAGE:
            return Verified(number, last, None, is_there)


def _problem(row: RowMapping, number: int, last: str) -> str | None:
    if row["event_id"] != number + 1:
        return f"entry {number + 1} is missing"
    if row["hash"] != _hash(last, row):
        return f"entry {number + 1} was changed"
    is_erased = row["note"] is None and row["note_salt"] is None
    if row["note_digest"] is None or is_erased:
        return None
    if row["note"] is None or _note_digest(row["note_salt"], row["note"]) != row["note_digest"]:
        return f"the note of entry {number + 1} was changed"
    return None
