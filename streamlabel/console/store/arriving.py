"""Records of the review topic become items, in one transaction with the positions behind them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from streamlabel.console.store.api import Refused
from streamlabel.console.store.appealing import appealed
from streamlabel.console.store.items import Arrival
from streamlabel.console.store.near_duplicates import remember
from streamlabel.console.store.parts import Part
from streamlabel.console.store.rows import by_console, clean, ms, row_of
from streamlabel.console.store.tables import input_offset, item, refused
from streamlabel.consumer.core.records import Position, TopicPartition
from streamlabel.consumer.output.appeal import AppealMessage
from streamlabel.errors import PositionsMovedError

__all__ = ["Arriving"]


class Arriving(Part):
    """Stores what arrives."""

    async def positions(self) -> Mapping[TopicPartition, int]:
        """See ``api.Intake``."""
        async with self.database.reading() as connection:
            rows = (await connection.execute(select(input_offset))).all()
        return {TopicPartition(row.topic, row.partition): row.next_offset for row in rows}

    async def arrive(
        self,
        arrivals: Sequence[tuple[Position, Arrival]],
        refusals: Sequence[Refused],
        *,
        appeals: Sequence[tuple[Position, AppealMessage, Arrival | None]] = (),
        begin: Mapping[TopicPartition, int],
        end: Mapping[TopicPartition, int],
        now: datetime,
    ) -> int:
        """See ``api.Intake``."""
        async with self.database.writing() as connection:
            await self.database.lock(connection, "arrivals")
            stored = await _stored(connection, end)
            for partition, offset in begin.items():
                if stored.get(partition, 0) < offset:
                    raise PositionsMovedError(
                        f"{partition.topic}-{partition.partition}: the database knows only"
                        f" {stored.get(partition, 0)}, not {offset}"
                    )
            is_new = {each: offset > stored.get(each, -1) for each, offset in end.items()}
            fresh = [
                (position, arrival)
                for position, arrival in arrivals
                if position.offset >= stored.get(position.topic_partition, 0)
            ]
            unknown, reused = await _unknown(connection, fresh)
            if unknown:
                await _add(connection, unknown, now)
            late = [
                each
                for each in refusals
                if each.position.offset >= stored.get(each.position.topic_partition, 0)
            ]
            without_text, events = await appealed(
                connection,
                [
                    each
                    for each in appeals
                    if each[0].offset >= stored.get(each[0].topic_partition, 0)
                ],
                now=now,
            )
            await _refuse(connection, [*late, *reused, *without_text], now)
            for partition, offset in end.items():
                if is_new[partition]:
                    await _set(connection, partition, offset, is_known=partition in stored)
            await self._append(connection, events)
        return len(unknown)

    async def reset_position(
        self, partition: TopicPartition, next_offset: int, *, why: str, now: datetime
    ) -> None:
        """See ``api.Intake``."""
        async with self.database.writing() as connection:
            await self.database.lock(connection, "arrivals")
            stored = await _stored(connection, [partition])
            await _set(connection, partition, next_offset, is_known=partition in stored)
            event = by_console(
                "position_reset",
                now,
                topic=partition.topic,
                partition=partition.partition,
                before=stored.get(partition),
                after=next_offset,
                why=why,
            )
            await self._append(connection, [event])


async def _add(connection: AsyncConnection, arrivals: Sequence[Arrival], now: datetime) -> None:
    await connection.execute(insert(item), [row_of(arrival, now=now) for arrival in arrivals])
    with_keys = [arrival.review_id for arrival in arrivals if arrival.near_keys]
    if with_keys:
        query = select(item).where(item.c.review_id.in_(with_keys))
        await remember(connection, (await connection.execute(query)).mappings().all())


async def _stored(connection: AsyncConnection, partitions: Any) -> dict[TopicPartition, int]:  # noqa: ANN401 iterable
    names = {each.topic for each in partitions}
    query = select(input_offset).where(input_offset.c.topic.in_(names)).with_for_update()
    rows = (await connection.execute(query)).all()
    return {TopicPartition(row.topic, row.partition): row.next_offset for row in rows}


async def _unknown(
    connection: AsyncConnection, arrivals: Sequence[tuple[Position, Arrival]]
) -> tuple[list[Arrival], list[Refused]]:
    """Return what is new, and what has the id of another record.

    The same record may be on the topic twice: the service writes it again after a crash.
    """
    ids = [arrival.review_id for _, arrival in arrivals]
    columns = (
        item.c.review_id,
        item.c.source_topic,
        item.c.source_partition,
        item.c.source_offset,
    )
    rows = (await connection.execute(select(*columns).where(item.c.review_id.in_(ids)))).all()
    known = {row.review_id: tuple(row)[1:] for row in rows}
    fresh: list[Arrival] = []
    reused: list[Refused] = []
    for position, arrival in arrivals:
        source = (arrival.source.topic, arrival.source.partition, arrival.source.offset)
        if arrival.review_id not in known:
            known[arrival.review_id] = source
            fresh.append(arrival)
        elif known[arrival.review_id] != source:
            detail = "another record of this task has the same id; ids have to be unique"
            reused.append(Refused(position, "id_reused", detail))
    return fresh, reused


async def _refuse(connection: AsyncConnection, refusals: Sequence[Refused], now: datetime) -> None:
    if not refusals:
        return
    places = [
        (each.position.topic, each.position.partition, each.position.offset) for each in refusals
    ]
    columns = (refused.c.topic, refused.c.partition, refused.c.offset)
    query = select(*columns).where(tuple_(*columns).in_(places))
    known = {tuple(row) for row in (await connection.execute(query)).all()}
    rows = [
        {
            "topic": place[0],
            "partition": place[1],
            "offset": place[2],
            "reason": each.reason,
            "detail": clean(each.detail),
            "at_ms": ms(now),
        }
        for place, each in zip(places, refusals, strict=True)
        if place not in known
    ]
    if rows:
        await connection.execute(insert(refused), rows)


async def _set(
    connection: AsyncConnection, partition: TopicPartition, offset: int, *, is_known: bool
) -> None:
    topic, number = partition
    if not is_known:
        await connection.execute(
            insert(input_offset).values(topic=topic, partition=number, next_offset=offset)
        )
        return
    await connection.execute(
        update(input_offset)
        .where(input_offset.c.topic == topic, input_offset.c.partition == number)
        .values(next_offset=offset)
    )
