"""Looking items up: what belongs together, the queue in numbers, the history."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, LargeBinary, Row, RowMapping, case, false, func, or_, select

from streamlabel.console.store import audit_log
from streamlabel.console.store.items import (
    AlikeItems,
    AuditCount,
    Event,
    Item,
    QueueCount,
    QueueCounts,
    Search,
)
from streamlabel.console.store.near_duplicates import sharing
from streamlabel.console.store.parts import Part
from streamlabel.console.store.rows import (
    clean,
    item_of,
    ms,
    optional_at,
    relation_of,
    task_name,
)
from streamlabel.console.store.tables import (
    IS_OPEN,
    event,
    item,
    outbox,
    refused,
    verdict,
)

__all__ = ["Finding"]

# Of the texts alike: enough to see whether they belong together.
_SEEN: Final = 8
_SEEN_BYTES: Final = 1_200


class Finding(Part):
    """Finds items; changes nothing."""

    async def item(self, item_id: int) -> Item:
        """See ``api.Store``."""
        async with self.database.reading() as connection:
            return await self._item(connection, item_id)

    async def review(self, review_id: str) -> Item | None:
        """Return the item of a review; None if there is none."""
        query = select(item).where(item.c.review_id == clean(review_id))
        async with self.database.reading() as connection:
            row = (await connection.execute(query)).mappings().first()
        return None if row is None else item_of(row)

    async def alike(self, found: Item, *, limit: int) -> AlikeItems:
        """See ``api.Store``."""
        has_key = found.near_key is not None or found.near_keys is not None
        if found.is_blind or found.text is None or not has_key:
            return AlikeItems(())
        # nothing is counted: of a wave of spam there may be as many as open items
        query = select(item.c.item_id).order_by(item.c.item_id).limit(limit + 1)
        async with self.database.reading() as connection:
            await self.database.walk(connection)
            if found.near_keys is not None:
                known = await sharing(connection, found, limit=limit + 1)
                query = query.where(IS_OPEN, item.c.item_id.in_(known))
            else:
                query = query.where(
                    IS_OPEN,
                    item.c.near_key == found.near_key,
                    item.c.task == task_name(found.task),
                    item.c.purpose == found.purpose,
                    item.c.item_id != found.item_id,
                )
            ids = (await connection.execute(query)).scalars().all()
            if not ids:
                return AlikeItems(())
            begin = func.substr(item.c.text, 1, _SEEN_BYTES, type_=LargeBinary)
            texts = select(begin).where(item.c.item_id.in_(ids[:_SEEN])).order_by(item.c.item_id)
            seen = (await connection.execute(texts)).scalars().all()
        # the last character may be cut
        begins = tuple(bytes(each or b"").decode("utf-8", "ignore") for each in seen)
        return AlikeItems(tuple(ids[:limit]), len(ids) > limit, begins)

    async def neighbours(self, found: Item, *, limit: int) -> Sequence[Item]:
        """See ``api.Store``."""
        relation = relation_of(found.thread, found.key)
        if relation is None:
            return ()
        same = item.c.relation == relation
        others = item.c.record_id != found.record_id
        query = select(item).where(same, others, item.c.look == 1, item.c.purpose != "gold")
        time, number = item.c.event_ms, item.c.item_id
        # two walks along the index, instead of the distances of all that share a key
        after = query.where(time >= found.event_time_ms).order_by(time, number)
        before = query.where(time < found.event_time_ms).order_by(time.desc(), number.desc())
        rows: list[RowMapping] = []
        async with self.database.reading() as connection:
            await self.database.walk(connection)
            for each in (after, before):
                rows += (await connection.execute(each.limit(limit))).mappings().all()

        def distance(row: RowMapping) -> tuple[int, int]:
            return abs(row["event_ms"] - found.event_time_ms), row["item_id"]

        return [item_of(row) for row in sorted(rows, key=distance)[:limit]]

    async def search(self, query: Search, *, limit: int) -> Sequence[Item]:
        """See ``api.Store``."""
        found = select(item)
        if query.id is not None:
            name = clean(query.id)
            found = found.where(or_(item.c.record_id == name, item.c.review_id == name))
        if query.task is not None:
            found = found.where(item.c.task == task_name(query.task))
        if query.label is not None:
            found = found.where(_has_label(clean(query.label)))
        if query.state is not None:
            found = found.where(item.c.state == query.state)
        if query.reviewer is not None:
            found = found.join(verdict, verdict.c.verdict_id == item.c.verdict_id)
            found = found.where(verdict.c.reviewer == clean(query.reviewer))
        async with self.database.reading() as connection:
            ordered = found.order_by(item.c.item_id.desc()).limit(limit)
            rows = (await connection.execute(ordered)).mappings()
            return [item_of(row) for row in rows]

    async def history(self, item_id: int) -> Sequence[Event]:
        """See ``api.Store``."""
        looks = select(item.c.item_id).where(item.c.parent_id == item_id)
        query = select(event).where(or_(event.c.item_id == item_id, event.c.item_id.in_(looks)))
        async with self.database.reading() as connection:
            rows = (await connection.execute(query.order_by(event.c.event_id))).mappings()
            return [audit_log.event_of(row) for row in rows]

    async def counts(self, *, now: datetime) -> QueueCounts:
        """See ``api.Store``."""
        hour_ms = ms(now - timedelta(hours=1))
        overdue_ms = ms(now - timedelta(seconds=self.rules.audit_overdue_s))

        def number(condition: ColumnElement[bool]) -> ColumnElement[int]:
            return func.sum(case((condition, 1), else_=0))

        waits = item.c.state.in_(["open", "leased"])
        is_audit = (item.c.purpose == "audit") & (item.c.look == 1)
        # all in one walk over the items
        query = select(
            item.c.task,
            item.c.label,
            number(item.c.state == "open").label("open"),
            number(item.c.state == "leased").label("leased"),
            number(item.c.state == "decided").label("decided"),
            func.min(case((waits, item.c.arrived_ms))).label("oldest_ms"),
            number(item.c.arrived_ms > hour_ms).label("arrived"),
            number(item.c.decided_ms > hour_ms).label("decided_last"),
            number(is_audit).label("audits"),
            number(is_audit & waits).label("audits_open"),
            number(is_audit & waits & (item.c.arrived_ms <= overdue_ms)).label("audits_overdue"),
            number(is_audit & (item.c.state == "purged")).label("audits_erased"),
            func.min(case((is_audit & waits, item.c.arrived_ms))).label("oldest_audit_ms"),
        ).group_by(item.c.task, item.c.label)
        async with self.database.reading() as connection:
            rows = (await connection.execute(query)).all()
            reasons = select(refused.c.reason, func.count()).group_by(refused.c.reason)
            refusals = (await connection.execute(reasons)).all()
            waiting = (
                await connection.execute(select(func.count()).select_from(outbox))
            ).scalar_one()
        return QueueCounts(
            queues=[
                QueueCount(
                    task=row.task or None,
                    label=row.label,
                    open=row.open,
                    leased=row.leased,
                    decided=row.decided,
                    oldest_at=optional_at(row.oldest_ms),
                    arrived_last_hour=row.arrived,
                    decided_last_hour=row.decided_last,
                )
                for row in rows
            ],
            audits=_audits(rows),
            refused=dict(tuple(row) for row in refusals),
            outbox=waiting,
        )

    async def waiting(self) -> Mapping[str | None, int]:
        """See ``api.Store``."""
        query = select(item.c.task, func.count()).where(IS_OPEN).group_by(item.c.task)
        async with self.database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return {task or None: number for task, number in rows}


def _audits(rows: Sequence[Row[Any]]) -> list[AuditCount]:
    """Return the audits by task, from numbers by task and label."""
    tasks: dict[str, list[Row[Any]]] = {}
    for row in rows:
        if row.audits:
            tasks.setdefault(row.task, []).append(row)
    return [
        AuditCount(
            task=task or None,
            open=sum(row.audits_open for row in of_task),
            overdue=sum(row.audits_overdue for row in of_task),
            erased=sum(row.audits_erased for row in of_task),
            oldest_at=optional_at(
                min(
                    (row.oldest_audit_ms for row in of_task if row.oldest_audit_ms is not None),
                    default=None,
                )
            ),
        )
        for task, of_task in sorted(tasks.items())
    ]


def _has_label(label: str) -> ColumnElement[bool]:
    """Return whether a label is among the model's, which are stored joined by commas."""
    if not label:
        return false()
    inner = item.c.label
    escaped = label.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return or_(
        inner == label,
        inner.like(f"{escaped}, %", escape="\\"),
        inner.like(f"%, {escaped}", escape="\\"),
        inner.like(f"%, {escaped}, %", escape="\\"),
    )
