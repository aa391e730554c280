"""Appeals become items: another look at what was decided, by somebody who did not decide it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from streamlabel.console.store.api import Refused
from streamlabel.console.store.gold_items import copied
from streamlabel.console.store.items import Arrival, Event
from streamlabel.console.store.near_duplicates import remember
from streamlabel.console.store.parts import exclude
from streamlabel.console.store.rows import by_console, row_of
from streamlabel.console.store.tables import item, verdict
from streamlabel.consumer.core.records import Position
from streamlabel.consumer.output.appeal import AppealMessage

__all__ = ["APPEALED_FIRST", "appealed"]

# Hours of waiting that an appeal counts for: before everything but escalations.
APPEALED_FIRST: Final = 5_000.0
_LOOK: Final = 2


async def appealed(
    connection: AsyncConnection,
    appeals: Sequence[tuple[Position, AppealMessage, Arrival | None]],
    *,
    now: datetime,
) -> tuple[list[Refused], list[Event]]:
    """Make the items of appeals.

    Args:
        connection: with a transaction that writes.
        appeals: with their positions, and with the item that is made of the appeal alone, if it
            has the text.
        now: the time.

    Returns:
        Those that cannot become items, and what to write into the audit log.
    """
    refused: list[Refused] = []
    events: list[Event] = []
    for position, appeal, alone in appeals:
        review_id = f"{appeal.review_id}#appeal/{appeal.appeal_id}"
        known = select(item.c.item_id).where(item.c.review_id == review_id)
        if (await connection.execute(known)).first() is not None:
            continue
        query = select(item).where(item.c.review_id == appeal.review_id)
        first = (await connection.execute(query)).mappings().first()
        values = _values(appeal, review_id, first)
        if first is not None and first["text"] is not None:
            item_id = await copied(connection, first["item_id"], values, now=now)
            for reviewer in await _deciders(connection, first["item_id"]):
                await exclude(connection, item_id, reviewer)
        elif alone is not None:
            row = row_of(alone, now=now) | values
            insertion = insert(item).values(row).returning(item.c.item_id)
            item_id = (await connection.execute(insertion)).scalar_one()
        else:
            why = "was never in review here" if first is None else "has no text any more"
            detail = f"its record {why}: write the appeal with text and labels"
            refused.append(Refused(position, "appeal_without_text", detail))
            continue
        await remember(connection, [await _row(connection, item_id)])
        events.append(by_console("appealed", now, item_id, appeal_id=appeal.appeal_id))
    return refused, events


def _values(appeal: AppealMessage, review_id: str, first: RowMapping | None) -> dict[str, Any]:
    decided: list[str] | None = appeal.labels
    values: dict[str, Any] = {}
    metadata = appeal.metadata
    if first is not None:
        decided = first["labels"] or decided or first["model_labels"]
        metadata = first["metadata"] if metadata is None else metadata
        values = {"parent_id": first["item_id"], "priority": first["priority"] + APPEALED_FIRST}
    return values | {
        "review_id": review_id,
        "purpose": "appeal",
        "look": _LOOK,
        "review_probability": None,  # an appeal is not drawn at random
        "metadata": _with_reason(metadata, appeal.reason),
        "appeal_id": appeal.appeal_id,
        "appealed_labels": decided,
    }


def _with_reason(metadata: object, reason: str | None) -> object:
    """Return the metadata with what the person says before it, so that it is seen first."""
    if not reason:
        return metadata
    others = metadata if isinstance(metadata, dict) else {"metadata": metadata}
    return {"appeal": reason} | {name: value for name, value in others.items() if value is not None}


async def _row(connection: AsyncConnection, item_id: int) -> RowMapping:
    query = select(item).where(item.c.item_id == item_id)
    return (await connection.execute(query)).mappings().one()


async def _deciders(connection: AsyncConnection, first_id: int) -> Sequence[str]:
    """Return who decided about the record at any look, undone decisions included."""
    looks = select(item.c.item_id).where(
        or_(item.c.item_id == first_id, item.c.parent_id == first_id)
    )
    query = select(verdict.c.reviewer).where(verdict.c.item_id.in_(looks)).distinct()
    return (await connection.execute(query)).scalars().all()
