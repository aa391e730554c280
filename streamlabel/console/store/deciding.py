"""Decisions about items: stored with their verdict for the topic, in one transaction."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from streamlabel.console.store.decided import (
    CHANGE,
    change_of,
    decided_event,
    goes_back,
    row_of_verdict,
)
from streamlabel.console.store.gold_items import copied
from streamlabel.console.store.items import Decision, Event, Item, Lease
from streamlabel.console.store.near_duplicates import forget, shares_a_key
from streamlabel.console.store.parts import Part, exclude
from streamlabel.console.store.rows import item_of, ms
from streamlabel.console.store.tables import IS_OPEN, item, lease, outbox, verdict
from streamlabel.console.store.verdicts import fitting, verdict_of
from streamlabel.consumer.output.verdict import VerdictMessage
from streamlabel.errors import ItemGoneError, StaleLeaseError

__all__ = ["Deciding"]

# Hours of waiting that an escalation counts for: before everything else.
_ESCALATED_FIRST: Final = 10_000.0
_SECOND: Final = 2


class Deciding(Part):
    """Takes decisions."""

    async def decide(self, lease_: Lease, decision: Decision, *, now: datetime) -> VerdictMessage:
        """See ``api.Store``."""
        async with self.database.writing() as connection:
            found = await self._leased_item(connection, lease_, now)
            decided = [(found, fitting(decision, found))]
            [message], events = await self._store(connection, decided, lease_.reviewer, now)
            await self._append(connection, events)
        return message

    async def decide_alike(
        self, lease_: Lease, decision: Decision, item_ids: Collection[int], *, now: datetime
    ) -> int:
        """See ``api.Store``."""
        async with self.database.writing() as connection:
            found = await self._leased_item(connection, lease_, now)
            fit = fitting(decision, found)
            others = await _still_alike(connection, found, item_ids, now)
            same = [(other, fitting(_for_others(fit), other)) for other in others]
            _, events = await self._store(connection, [(found, fit), *same], lease_.reviewer, now)
            await self._append(connection, events)
        return len(events)

    async def _leased_item(self, connection: AsyncConnection, lease_: Lease, now: datetime) -> Item:
        held = (
            await connection.execute(
                select(lease.c.until_ms)
                .where(
                    lease.c.item_id == lease_.item_id,
                    lease.c.reviewer == lease_.reviewer,
                    lease.c.generation == lease_.generation,
                )
                .with_for_update()
            )
        ).first()
        row = await self._locked(connection, lease_.item_id)
        if row["state"] == "purged" or row["text"] is None:
            raise ItemGoneError("the text of this item was erased; nothing was stored")
        if held is None and row["state"] == "decided":
            raise ItemGoneError("this item was decided meanwhile; nothing was stored")
        if held is None or held.until_ms <= ms(now):
            raise StaleLeaseError(
                "the time for this item was over, or it is open in another tab; nothing was stored"
            )
        return item_of(row)

    async def _store(
        self,
        connection: AsyncConnection,
        decided: Sequence[tuple[Item, Decision]],
        reviewer: str,
        now: datetime,
    ) -> tuple[list[VerdictMessage], list[Event]]:
        """Store decisions that fit; return their verdicts, and what happened for the audit log.

        A few statements for all of them: hundreds of texts alike are decided by one key, and
        others wait for the end of this transaction.
        """
        pseudonym = self.rules.pseudonym(reviewer)
        messages = [
            verdict_of(found, decision, pseudonym=pseudonym, now=now) for found, decision in decided
        ]
        rows = [
            row_of_verdict(found, decision, reviewer, pseudonym, now) for found, decision in decided
        ]
        query = insert(verdict).returning(verdict.c.item_id, verdict.c.verdict_id)
        ids = {row.item_id: row.verdict_id for row in await connection.execute(query, rows)}
        due_ms = ms(now) + self.rules.undo_ms
        outgoing = [
            {
                "key": found.review_id,
                "value": message.encoded(),
                "verdict_id": ids[found.item_id],
                "due_ms": due_ms,
                "taken": False,
            }
            for (found, _), message in zip(decided, messages, strict=True)
        ]
        await connection.execute(insert(outbox), outgoing)
        await connection.execute(delete(lease).where(lease.c.item_id.in_(list(ids))))
        changes = [change_of(found, decision, ids, due_ms, ms(now)) for found, decision in decided]
        await connection.execute(CHANGE, changes)
        await forget(
            connection, [each["of_item"] for each in changes if each["to_state"] != "open"]
        )
        events = []
        for found, decision in decided:
            if goes_back(found, decision):
                await exclude(connection, found.item_id, reviewer)
            second = None
            if self._needs_second_look(found, decision):
                second = await self._second_look(connection, found, decision, reviewer, now)
            events.append(decided_event(found, decision, ids, second=second, by=reviewer, now=now))
        return messages, events

    def _needs_second_look(self, found: Item, decision: Decision) -> bool:
        if found.look != 1 or found.purpose == "gold" or decision.action == "skip":
            return False
        return decision.action == "escalate" or self.rules.draws_second_look()

    async def _second_look(
        self,
        connection: AsyncConnection,
        found: Item,
        decision: Decision,
        reviewer: str,
        now: datetime,
    ) -> int | None:
        """Make a second look for others, after the undo time; None if there is one already."""
        review_id = f"{found.review_id}#{_SECOND}"
        known = select(item.c.item_id).where(item.c.review_id == review_id)
        if (await connection.execute(known)).first() is not None:
            return None
        is_escalated = decision.action == "escalate"
        values = {
            "review_id": review_id,
            "purpose": "second_look",
            "look": _SECOND,
            "parent_id": found.item_id,
            "open_from_ms": ms(now) + self.rules.undo_ms,
            "priority": found.priority + (_ESCALATED_FIRST if is_escalated else 0.0),
        }
        item_id = await copied(connection, found.item_id, values, now=now)
        await exclude(connection, item_id, reviewer)
        return item_id


def _for_others(decision: Decision) -> Decision:
    """Return the decision for texts that were not shown: no duration, and the labels chosen."""
    action = "correct" if decision.labels is not None else decision.action
    return Decision(
        action=action,
        labels=decision.labels,
        note=decision.note,
        saw_model_answer=decision.saw_model_answer,
    )


async def _still_alike(
    connection: AsyncConnection, found: Item, item_ids: Collection[int], now: datetime
) -> list[Item]:
    """Return those that are still open, alike, of the same task and not to be decided blind."""
    if found.is_blind or (found.near_key is None and found.near_keys is None):
        return []
    query = (
        select(item)
        .where(
            IS_OPEN,
            item.c.item_id.in_(list(item_ids)),
            shares_a_key(found),
            item.c.task == (found.task or ""),
            item.c.purpose == found.purpose,
            item.c.open_from_ms <= ms(now),
        )
        .order_by(item.c.item_id)
        .with_for_update(skip_locked=True)
    )
    return [item_of(row) for row in (await connection.execute(query)).mappings()]
