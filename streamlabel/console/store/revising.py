"""Taking decisions back: by the reviewer within the undo time, by a lead at any time."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import RowMapping, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from streamlabel.console.store.items import Event, Lease
from streamlabel.console.store.leasing import Leasing
from streamlabel.console.store.near_duplicates import remember
from streamlabel.console.store.parts import open_again
from streamlabel.console.store.rows import ms
from streamlabel.console.store.tables import exclusion, item, lease, outbox, verdict
from streamlabel.errors import ItemGoneError, UndoExpiredError

__all__ = ["Revising"]


class Revising(Leasing):
    """Takes decisions back."""

    async def undo(self, *, reviewer: str, item_id: int, now: datetime) -> Lease:
        """See ``api.Store``."""
        async with self.database.writing() as connection:
            await self.database.lock(connection, f"lease of {reviewer}")
            row = await self._locked(connection, item_id)
            query = select(verdict).where(verdict.c.verdict_id == row["verdict_id"])
            last = (await connection.execute(query)).mappings().first()
            if last is None or last["reviewer"] != reviewer or row["state"] == "leased":
                raise UndoExpiredError("there is no decision of yours to take back")
            if ms(now) >= last["decided_ms"] + self.rules.undo_ms:
                raise UndoExpiredError("the time to take it back is over; ask a lead to reopen it")
            together = await _decided_together(connection, last)
            await _take_back(connection, (row, *together), last["decided_ms"])
            await connection.execute(
                delete(exclusion).where(
                    exclusion.c.item_id == item_id, exclusion.c.reviewer == reviewer
                )
            )
            query = select(lease.c.item_id).where(lease.c.reviewer == reviewer)
            held = (await connection.execute(query)).scalars().all()
            await open_again(connection, held)
            _, granted = await self._leased(connection, item_id, reviewer, now)
            events = [
                Event(
                    at=now,
                    actor=reviewer,
                    action="undone",
                    item_id=each["item_id"],
                    detail={"verdict_id": each["verdict_id"]},
                )
                for each in (row, *together)
            ]
            await self._append(connection, events)
        return granted

    async def reopen(self, item_id: int, *, by: str, note: str, now: datetime) -> None:
        """See ``api.Store``."""
        async with self.database.writing() as connection:
            row = await self._locked(connection, item_id)
            if row["text"] is None:
                raise ItemGoneError("the text of this item was erased; it cannot be decided again")
            if row["state"] != "decided":
                raise ItemGoneError("this item is not decided")
            if row["purpose"] == "gold":
                raise ItemGoneError("this item measures one reviewer; reopen the original")
            verdict_id = row["verdict_id"]
            unsent = delete(outbox).where(
                outbox.c.verdict_id == verdict_id, outbox.c.taken.is_(False)
            )
            if not (await connection.execute(unsent)).rowcount:
                await connection.execute(
                    insert(outbox).values(
                        key=row["review_id"],
                        value=None,
                        verdict_id=None,
                        due_ms=ms(now),
                        taken=False,
                    )
                )
            await connection.execute(
                update(item)
                .where(item.c.item_id == item_id)
                .values(state="open", open_from_ms=0, verdict_id=None, labels=None, decided_ms=None)
            )
            await remember(connection, [row])
            detail = {"verdict_id": verdict_id}
            event = Event(
                at=now, actor=by, action="reopened", item_id=item_id, detail=detail, note=note
            )
            await self._append(connection, [event])


async def _decided_together(connection: AsyncConnection, last: RowMapping) -> Sequence[RowMapping]:
    """Return the other items that the same press of a key decided: alike texts, all at once."""
    query = (
        select(item)
        .join(verdict, verdict.c.verdict_id == item.c.verdict_id)
        .where(
            verdict.c.reviewer == last["reviewer"],
            verdict.c.decided_ms == last["decided_ms"],
            item.c.item_id != last["item_id"],
        )
        .order_by(item.c.item_id)
        .with_for_update(of=item)
    )
    return (await connection.execute(query)).mappings().all()


async def _take_back(
    connection: AsyncConnection, rows: Sequence[RowMapping], decided_ms: int
) -> None:
    """Open decided items again, as if nobody had decided.

    Raises:
        UndoExpiredError: a verdict may be on the topic already, or somebody has a second look.
    """
    ids = [row["item_id"] for row in rows]
    verdicts = [row["verdict_id"] for row in rows]
    unsent = delete(outbox).where(outbox.c.verdict_id.in_(verdicts), outbox.c.taken.is_(False))
    are_unsent = (await connection.execute(unsent)).rowcount == len(rows)
    if not are_unsent or not await _second_looks_removed(connection, ids, decided_ms):
        raise UndoExpiredError("the verdict has left already; ask a lead to reopen it")
    await connection.execute(
        update(item)
        .where(item.c.item_id.in_(ids))
        .values(state="open", open_from_ms=0, verdict_id=None, labels=None, decided_ms=None)
    )
    await remember(connection, [row for row in rows if row["state"] == "decided"])


async def _second_looks_removed(
    connection: AsyncConnection, item_ids: Sequence[int], decided_ms: int
) -> bool:
    """Remove the second looks that decisions have made; return False if somebody has one."""
    made = item.c.parent_id.in_(item_ids) & (item.c.arrived_ms == decided_ms)
    made &= item.c.purpose == "second_look"
    untouched = made & (item.c.state == "open") & (item.c.generation == 0)
    query = delete(item).where(untouched).returning(item.c.item_id)
    removed = (await connection.execute(query)).scalars().all()
    await connection.execute(delete(exclusion).where(exclusion.c.item_id.in_(removed)))
    left = select(item.c.item_id).where(made)
    return (await connection.execute(left)).first() is None
