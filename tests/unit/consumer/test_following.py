"""Which order a member follows: the later one, by its offset, whatever else happens meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

from pydantic import SecretStr

from streamlabel.config.settings import Settings
from streamlabel.consumer.control.messages import Order, Status, key_of, read, write
from streamlabel.consumer.core.records import Position, SourceRecord
from streamlabel.consumer.following import Follower
from tests.doubles import ManualClock, RecordingMetrics

if TYPE_CHECKING:
    from streamlabel.consumer.kafka.control_topic import ControlTopic
    from streamlabel.consumer.swapping import Swapper

KEY = SecretStr("a key of sixteen characters")


def order(name: str, label: str, offset: int, *, group: str = "g") -> SourceRecord:
    sections = {"model": {"backend": "fake", "labels": ["x", label]}}
    message = Order(
        schema="streamlabel.deployment/v1", id=name, group=group, created_at="", sections=sections
    )
    place = Position("control", 0, offset)
    return SourceRecord(place, key_of(message), write(message, KEY), (), 0, 0.0)


class Topic:
    """The control topic: gives records as they come, and keeps what was said."""

    def __init__(self, *stored: SourceRecord) -> None:
        self.records: asyncio.Queue[SourceRecord] = asyncio.Queue()
        self.kept = list(stored)
        self.said: list[tuple[str, str]] = []

    async def ensure(self) -> None:
        """It exists."""

    async def stored(self) -> list[SourceRecord]:
        """What was written before."""
        return self.kept

    async def follow(self) -> AsyncIterator[SourceRecord]:
        """Everything, from the oldest record on."""
        for each in self.kept:
            yield each
        while True:
            yield await self.records.get()

    async def publish(self, _key: bytes, value: bytes) -> None:
        """Keep a status."""
        status = read(value, KEY)
        assert isinstance(status, Status)
        self.said.append((status.order, status.state))


class Swaps:
    """Loads until the test opens the gate."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.begun: list[str] = []
        self.done: list[str] = []

    async def swap(self, wanted: Settings, **_more: Any) -> None:  # noqa: ANN401 as the swapper
        """Swap when the gate is open."""
        label = cast("Any", wanted.model).labels[1]
        self.begun.append(label)
        await self.open.wait()
        self.done.append(label)


def follower(topic: Topic) -> Follower:
    settings = Settings.model_validate(
        {
            "model": {"backend": "fake"},
            "kafka": {"group_id": "g"},
            "control": {"topic": "control", "key": KEY},
        }
    )
    made = Follower(settings, ManualClock(), RecordingMetrics())
    made._topic = cast("ControlTopic", topic)
    return made


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_of_two_deployments_at_once_the_later_one_wins() -> None:
    topic, swaps = Topic(), Swaps()
    running = asyncio.create_task(follower(topic).run(cast("Swapper", swaps)))
    topic.records.put_nowait(order("one", "first", 0))
    await settle()
    topic.records.put_nowait(order("two", "second", 1))
    await settle()
    swaps.open.set()
    await settle()
    assert (swaps.begun, swaps.done) == (["first", "second"], ["second"])
    assert topic.said == [("one", "loading"), ("two", "loading"), ("two", "active")]
    # what was seen before, and orders of other groups, change nothing
    topic.records.put_nowait(order("zero", "older", 0))
    topic.records.put_nowait(order("three", "other", 2, group="h"))
    await settle()
    assert swaps.done == ["second"]
    running.cancel()
    await asyncio.wait([running])


async def test_a_member_that_was_down_starts_with_the_last_deployment() -> None:
    topic = Topic(order("one", "first", 0), order("two", "second", 1))
    member, swaps = follower(topic), Swaps()
    settings = await member.first()
    assert cast("Any", settings.model).labels == ["x", "second"]
    running = asyncio.create_task(member.run(cast("Swapper", swaps)))
    await settle()
    assert swaps.begun == [], "it has it already"
    assert topic.said == [("two", "active")]
    running.cancel()
    await asyncio.wait([running])
