"""Verdicts that another tool made: their items are decided, without a message for the topic."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, exists, insert, select

from streamlabel.console.store.decided import CHANGE
from streamlabel.console.store.near_duplicates import forget
from streamlabel.console.store.parts import Part
from streamlabel.console.store.rows import by_console, clean, ms
from streamlabel.console.store.tables import item, lease, outbox, verdict
from streamlabel.consumer.output.verdict import VerdictMessage

__all__ = ["Settling"]

# Verdicts of one transaction: others wait for its end.
_PAGE: Final = 500


class Settling(Part):
    """Decides items as the verdicts say that are on the topic already."""

    async def settle(self, verdicts: Sequence[VerdictMessage], *, now: datetime) -> int:
        """Decide the items of verdicts that the topic has; return how many were undecided.

        A reviewer who has such an item on the screen is told that it was decided meanwhile. Items
        that are decided or erased stay as they are, and so do those about which a message waits to
        be sent: they were opened again after the verdict. A verdict that leaves the decision to
        others (skip, escalate) changes nothing.

        Args:
            verdicts: those that hold, one for each review; of reviews without an item, too.
            now: the time. What was decided later than this was decided now.
        """
        by_id = {clean(each.review_id): each for each in verdicts if _decides(each)}
        names = sorted(by_id)
        return sum(
            [
                await self._settle(
                    {name: by_id[name] for name in names[first : first + _PAGE]}, now
                )
                for first in range(0, len(names), _PAGE)
            ]
        )

    async def _settle(self, by_id: Mapping[str, VerdictMessage], now: datetime) -> int:
        waits = exists().where(outbox.c.key == item.c.review_id)
        query = (
            select(item.c.item_id, item.c.review_id, item.c.generation, item.c.purpose)
            .where(item.c.review_id.in_(list(by_id)), item.c.state.in_(["open", "leased"]), ~waits)
            .order_by(item.c.item_id)
            .with_for_update()
        )
        async with self.database.writing() as connection:
            rows = (await connection.execute(query)).all()
            rows = [
                row
                for row in rows
                if row.purpose != "appeal" or by_id[row.review_id].labels is not None
            ]
            if not rows:
                return 0
            made = [_row(row, by_id[row.review_id], now) for row in rows]
            store = insert(verdict).returning(verdict.c.item_id, verdict.c.verdict_id)
            ids = {row.item_id: row.verdict_id for row in await connection.execute(store, made)}
            await connection.execute(delete(lease).where(lease.c.item_id.in_(list(ids))))
            await connection.execute(
                CHANGE,
                [
                    {
                        "of_item": each["item_id"],
                        "to_verdict": ids[each["item_id"]],
                        "to_state": "decided",
                        "to_open_from_ms": 0,
                        "to_labels": each["labels"],
                        "to_decided_ms": each["decided_ms"],
                    }
                    for each in made
                ],
            )
            await forget(connection, list(ids))
            events = [
                by_console(
                    "decided_elsewhere",
                    now,
                    each["item_id"],
                    decision=each["action"],
                    labels=each["labels"],
                    reviewer=each["pseudonym"],
                    verdict_id=ids[each["item_id"]],
                )
                for each in made
            ]
            await self._append(connection, events)
        return len(rows)


def _decides(message: VerdictMessage) -> bool:
    return message.labels is not None or message.action == "unsure"


def _row(row: Any, message: VerdictMessage, now: datetime) -> dict[str, Any]:  # noqa: ANN401 a row
    decided_at = datetime.fromisoformat(message.decided_at)
    return {
        "item_id": row.item_id,
        "reviewer": clean(message.reviewer),  # the account is known to the other tool only
        "pseudonym": clean(message.reviewer),
        "action": message.action,
        "labels": message.labels,
        "saw_model_answer": message.saw_model_answer,
        "duration_ms": message.duration_ms,
        "note": None,
        "decided_ms": ms(min(decided_at, now)),
        "generation": row.generation,
    }
