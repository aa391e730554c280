"""Looking verdicts up: how much a person decided and read, what holds, as rows and as messages."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import RowMapping, Select, func, select

from streamlabel.console.store.items import Decision, VerdictRow
from streamlabel.console.store.parts import Part
from streamlabel.console.store.rows import at, item_of, ms, verdict_row
from streamlabel.console.store.tables import gold, item, verdict
from streamlabel.console.store.verdicts import verdict_of
from streamlabel.consumer.output.verdict import VerdictMessage

__all__ = ["FindingVerdicts"]


class FindingVerdicts(Part):
    """Finds verdicts; changes nothing."""

    async def decided_by(self, reviewer: str, *, since: datetime) -> int:
        """See ``api.Store``."""
        query = select(func.count()).where(
            verdict.c.reviewer == reviewer, verdict.c.decided_ms >= ms(since)
        )
        async with self.database.reading() as connection:
            return (await connection.execute(query)).scalar_one()

    async def exposure(self, *, reviewer: str, since: datetime) -> Mapping[str, int]:
        """See ``api.Store``."""
        query = (
            select(item.c.label, verdict.c.labels)
            .join(item, item.c.item_id == verdict.c.item_id)
            .where(
                verdict.c.reviewer == reviewer,
                verdict.c.decided_ms >= ms(since),
                verdict.c.duration_ms.is_not(None),  # else its text was not on the screen
            )
        )
        found: dict[str, int] = {}
        async with self.database.reading() as connection:
            for label, labels in (await connection.execute(query)).all():
                name = label if label is not None else ", ".join(labels or ())
                found[name] = found.get(name, 0) + 1
        return found

    async def reviewed(self, *, since: datetime, until: datetime) -> Sequence[VerdictRow]:
        """See ``api.Store``."""
        query = _verdicts().where(
            verdict.c.decided_ms >= ms(since), verdict.c.decided_ms < ms(until)
        )
        async with self.database.reading() as connection:
            rows = (await connection.execute(query.order_by(verdict.c.verdict_id))).mappings()
            return [verdict_row(row) for row in rows]

    async def last_verdicts(self, *, limit: int) -> Sequence[VerdictMessage]:
        """See ``api.Store``."""
        names = ("action", "labels", "saw_model_answer", "duration_ms", "decided_ms", "pseudonym")
        columns = [verdict.c[name].label(f"given_{name}") for name in names]
        query = (
            select(item, verdict.c.note.is_not(None).label("given_note"), *columns)
            .join(item, item.c.verdict_id == verdict.c.verdict_id)
            .where(item.c.purpose.in_(["review", "audit"]))
            .order_by(verdict.c.verdict_id.desc())
            .limit(limit)
        )
        async with self.database.reading() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [_message(row) for row in rows]


def _message(row: RowMapping) -> VerdictMessage:
    labels = row["given_labels"]
    decision = Decision(
        action=row["given_action"],
        labels=None if labels is None else tuple(labels),
        note="-" if row["given_note"] else None,  # only whether there is one is in a message
        saw_model_answer=row["given_saw_model_answer"],
        duration_ms=row["given_duration_ms"],
    )
    return verdict_of(
        item_of(row), decision, pseudonym=row["given_pseudonym"], now=at(row["given_decided_ms"])
    )


def _verdicts() -> Select[tuple[object, ...]]:
    """Return a query for the verdicts that hold, with their items."""
    return (
        select(
            verdict,
            item.c.review_id,
            item.c.record_id,
            item.c.task,
            item.c.model_labels,
            item.c.confidence,
            item.c.probabilities,
            item.c.look,
            item.c.purpose,
            item.c.reasons,
            item.c.review_probability,
            gold.c.labels.label("gold_labels"),
        )
        .join(item, item.c.verdict_id == verdict.c.verdict_id)
        .outerjoin(gold, gold.c.gold_id == item.c.gold_id)
    )
