"""The outbox: messages for the verdicts topic, in order, and who sends them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, insert, or_, select, update

from streamlabel.console.store.api import OutboxRow
from streamlabel.console.store.parts import Part
from streamlabel.console.store.rows import at, ms
from streamlabel.console.store.tables import duty, outbox

__all__ = ["Sending"]


class Sending(Part):
    """Hands out messages to send, to one process at a time."""

    async def take_duty(self, name: str, *, holder: str, ttl_s: float, now: datetime) -> bool:
        """See ``api.Outbox``."""
        ttl_ms = round(ttl_s * 1000)
        now_ms = ms(now)
        # also one that a clock which has jumped back would hold for too long
        is_free = or_(
            duty.c.holder == holder,
            duty.c.until_ms <= now_ms,
            duty.c.until_ms > now_ms + ttl_ms,
        )
        async with self.database.writing() as connection:
            await self.database.lock(connection, f"duty {name}")
            query = select(duty.c.holder).where(duty.c.name == name)
            if (await connection.execute(query)).first() is None:
                await connection.execute(
                    insert(duty).values(name=name, holder=holder, until_ms=now_ms + ttl_ms)
                )
                return True
            done = await connection.execute(
                update(duty)
                .where(duty.c.name == name, is_free)
                .values(holder=holder, until_ms=now_ms + ttl_ms)
            )
        return bool(done.rowcount)

    async def drop_duty(self, name: str, *, holder: str) -> None:
        """See ``api.Outbox``."""
        async with self.database.writing() as connection:
            await connection.execute(
                delete(duty).where(duty.c.name == name, duty.c.holder == holder)
            )

    async def take(self, *, limit: int, now: datetime) -> Sequence[OutboxRow]:
        """See ``api.Outbox``."""
        now_ms = ms(now)
        # After a clock has jumped back, a verdict would wait longer than the undo time.
        is_due = or_(
            outbox.c.taken,
            outbox.c.due_ms <= now_ms,
            outbox.c.due_ms > now_ms + self.rules.undo_ms,
        )
        query = select(outbox).where(is_due).order_by(outbox.c.outbox_id).limit(limit)
        async with self.database.reading() as connection:
            if (await connection.execute(query)).first() is None:
                return ()
        async with self.database.writing() as connection:
            rows = (await connection.execute(query.with_for_update())).all()
            ids = [row.outbox_id for row in rows]
            await connection.execute(
                update(outbox).where(outbox.c.outbox_id.in_(ids)).values(taken=True)
            )
        return [
            OutboxRow(
                outbox_id=row.outbox_id,
                key=row.key,
                value=None if row.value is None else bytes(row.value),
                due_at=at(row.due_ms),
            )
            for row in rows
        ]

    async def sent(self, rows: Sequence[OutboxRow]) -> None:
        """See ``api.Outbox``."""
        async with self.database.writing() as connection:
            await connection.execute(
                delete(outbox).where(outbox.c.outbox_id.in_([row.outbox_id for row in rows]))
            )
