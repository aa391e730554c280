"""When a bounded run is complete, as each of its members sees it."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

import pytest
from aiokafka import TopicPartition as KafkaPartition
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.core.topic_identity import TopicIdentity
from streamlabel.consumer.delivery.start_position import Side, Stored
from streamlabel.consumer.delivery.time_range import Mark, TimeRange
from streamlabel.consumer.kafka.range_offsets import RangeOffsets

if TYPE_CHECKING:
    from streamlabel.consumer.kafka.group_offsets import GroupOffsets

CATCHING_UP = TimeRange(None, None, continues=True)


class _Offsets:
    """What the brokers hold: the ends of the partitions of one topic, and the group's offsets."""

    topic = "texts"

    def __init__(self, *ends: int) -> None:
        self.ends = list(ends)
        self.group: dict[int, Stored] = {}

    def partitions(self) -> frozenset[int]:
        return frozenset(range(len(self.ends)))

    async def stored(self, partitions: Iterable[int]) -> dict[int, Stored]:
        return {number: self.group[number] for number in partitions if number in self.group}

    async def store(self, offsets: Mapping[int, int], metadata: str) -> None:
        mark = Mark.of(metadata)
        self.group |= {n: Stored(offset, mark.topic_id, mark) for n, offset in offsets.items()}

    async def edges(self, partitions: Iterable[int], side: Side) -> dict[int, int]:
        assert side == "earliest"
        return dict.fromkeys(partitions, 0)

    async def end(self, partition: int) -> int:
        return self.ends[partition]


class _Member:
    """One process of a bounded run."""

    def __init__(self, offsets: _Offsets, wanted: TimeRange = CATCHING_UP) -> None:
        self._offsets = offsets
        self._range = RangeOffsets(
            cast("GroupOffsets", offsets), wanted, TopicIdentity(), group="group"
        )

    async def progress(self) -> str:
        return await self._range.progress()

    async def begin(self, number: int) -> int:
        return await self._range.first_offset(KafkaPartition("texts", number))

    async def read(self, number: int) -> None:
        """Read a partition to its end."""
        mark = self._range.mark(number)
        await self._offsets.store({number: mark.end}, mark.metadata)

    async def run(self, *numbers: int) -> None:
        for number in numbers:
            await self.begin(number)
            await self.read(number)


async def test_what_an_earlier_run_has_completed_says_nothing_about_this_one() -> None:
    offsets = _Offsets(30, 0)
    first = _Member(offsets)
    await first.run(0, 1)
    assert await first.progress() == "complete"
    offsets.ends[0] = 45
    second = _Member(offsets)
    assert await second.progress() == "not_begun"  # asked before its partitions were assigned
    assert await second.begin(1) == 0
    assert await second.progress() == "not_begun"
    assert await second.begin(0) == 30
    assert await second.progress() == "reading"
    await second.read(0)
    offsets.ends[0] = 60  # texts keep coming: they are for the next run
    assert await second.progress() == "complete"


async def test_a_run_that_finds_nothing_new_is_complete() -> None:
    offsets = _Offsets(30, 5)
    await _Member(offsets).run(0, 1)
    assert await _Member(offsets).progress() == "complete"


async def test_a_run_that_was_stopped_is_continued_by_whichever_member() -> None:
    offsets = _Offsets(30, 5)
    stopped = _Member(offsets)
    await stopped.begin(0)
    await stopped.begin(1)
    onlooker, other = _Member(offsets), _Member(offsets)
    assert await onlooker.progress() == "reading"
    offsets.ends = [50, 50]
    await other.run(0, 1)
    assert await onlooker.progress() == await other.progress() == "complete"
    assert offsets.group[0].next_offset == 30


async def test_without_continuing_a_complete_range_is_read_once() -> None:
    offsets, wanted = _Offsets(30), TimeRange(None, None)
    await _Member(offsets, wanted).run(0)
    offsets.ends[0] = 45
    assert await _Member(offsets, wanted).progress() == "complete"


async def test_a_service_in_the_group_is_no_member() -> None:
    offsets = _Offsets(30, 30)
    await offsets.store({0: 30, 1: 30}, "")
    member = _Member(offsets)
    await member.run(0)
    assert await member.progress() == "not_begun"


@pytest.mark.parametrize("known", [0, 2])
async def test_partitions_that_are_not_known_yet_are_not_complete(known: int) -> None:
    offsets = _Offsets(*[7] * known)
    assert await _Member(offsets).progress() == "not_begun"


@given(st.data())
async def test_of_members_that_have_read_all_their_partitions_one_sees_the_end(
    data: st.DataObject,
) -> None:
    """In whatever order they look, begin and read, while texts keep coming."""
    count = data.draw(st.integers(1, 4), label="partitions")
    offsets = _Offsets(*[3] * count)
    await _Member(offsets).run(*range(count))
    offsets.ends = [5] * count
    members = [_Member(offsets) for _ in range(data.draw(st.integers(1, 3), label="members"))]
    owners = [data.draw(st.integers(0, len(members) - 1)) for _ in range(count)]
    looks = [data.draw(st.integers(0, len(members) - 1)) for _ in range(4)]
    steps = [("begin", number) for number in range(count)] + [("look", at) for at in looks]
    unread = set(range(count))
    for kind, at in data.draw(st.permutations(steps), label="steps"):
        if kind == "look":
            if await members[at].progress() == "complete":
                assert not unread
            continue
        member = members[owners[at]]
        assert await member.begin(at) == 3
        await member.read(at)
        unread.discard(at)
        offsets.ends[at] += data.draw(st.integers(0, 1), label="more texts")
    assert "complete" in [await member.progress() for member in members]
