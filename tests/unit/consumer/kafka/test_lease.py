"""Until when a member may write: never longer than the coordinator waits for its heartbeat."""

import asyncio
from dataclasses import dataclass, field

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.kafka.lease import Lease
from streamlabel.errors import BrokerError

SESSION_S = 30.0
SETTINGS = KafkaSettings(session_timeout_ms=30_000, heartbeat_interval_ms=3_000)
UNKNOWN_MEMBER, ILLEGAL_GENERATION, REBALANCING = 25, 22, 27


@dataclass
class Answer:
    """Of the coordinator."""

    error_code: int


@dataclass
class Coordinator:
    """In the place of aiokafka's: answers after ``seconds``, or raises."""

    now: list[float]
    answer: int | Exception = 0
    seconds: float = 0.0
    asked: int = 0

    async def _send_req(self, request: object) -> Answer:
        self.asked += 1
        self.now[0] += self.seconds
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return Answer(self.answer)

    async def _do_heartbeat(self) -> bool:
        answer = await self._send_req(HeartbeatRequest("group", 1, "me"))
        return answer.error_code == 0


@dataclass
class World:
    """A lease that follows a coordinator."""

    now: list[float] = field(default_factory=lambda: [1000.0])

    def __post_init__(self) -> None:
        self.coordinator = Coordinator(self.now)
        self.lease = Lease(SETTINGS, now_s=lambda: self.now[0])
        self.lease.follow(self.coordinator)


async def test_nobody_is_a_member_before_the_group_has_said_so() -> None:
    world = World()
    assert not world.lease.is_held()
    await world.coordinator._send_req(JoinGroupRequest("group", 1, 1, "", "", "", []))
    assert not world.lease.is_held()
    await world.coordinator._send_req(SyncGroupRequest("group", 1, "me", "", []))
    assert world.lease.is_held()


async def test_a_fresh_answer_is_believed_and_an_old_one_is_asked_for_again_once() -> None:
    world = World()
    await world.coordinator._do_heartbeat()
    world.now[0] += 5.9
    assert await world.lease.confirm()
    assert world.coordinator.asked == 1
    world.now[0] += 0.2
    assert all(await asyncio.gather(*(world.lease.confirm() for _ in range(5))))
    assert world.coordinator.asked == 2


async def test_a_member_that_stood_still_may_send_nothing_until_it_has_asked() -> None:
    world = World()
    await world.coordinator._do_heartbeat()
    world.now[0] += SESSION_S
    assert not world.lease.is_held()
    world.coordinator.answer = UNKNOWN_MEMBER
    assert not await world.lease.confirm()
    assert not world.lease.is_held()


@pytest.mark.parametrize("code", [UNKNOWN_MEMBER, ILLEGAL_GENERATION])
async def test_a_member_that_the_group_does_not_know_holds_nothing_from_then_on(code: int) -> None:
    world = World()
    await world.coordinator._do_heartbeat()
    world.coordinator.answer = code
    await world.coordinator._do_heartbeat()
    assert not world.lease.is_held()


async def test_during_a_rebalance_members_go_on() -> None:
    world = World()
    world.coordinator.answer = REBALANCING
    await world.coordinator._do_heartbeat()
    assert world.lease.is_held()
    assert await world.lease.confirm()


async def test_nobody_who_answers_confirms_nothing() -> None:
    world = World()
    world.coordinator.answer = KafkaConnectionError()
    assert not await world.lease.confirm()


async def test_a_group_that_is_denied_is_no_retry() -> None:
    world = World()
    world.coordinator.answer = GroupAuthorizationFailedError("group")
    with pytest.raises(BrokerError) as caught:
        await world.lease.confirm()
    assert not caught.value.retriable


@given(
    st.lists(st.tuples(st.floats(0, 40), st.floats(0, 40), st.booleans()), min_size=1, max_size=30)
)
def test_it_ends_before_the_coordinator_gives_the_partitions_away(
    steps: list[tuple[float, float, bool]],
) -> None:
    """Whatever time passes between heartbeats and before their answers are read."""
    now_s, heard_s = 0.0, float("-inf")
    lease = Lease(SETTINGS, now_s=lambda: now_s)
    for wait_s, answer_s, is_answered in steps:
        now_s += wait_s
        sent_s = now_s
        is_member = sent_s - heard_s < SESSION_S or heard_s == float("-inf")
        if is_answered:
            heard_s = sent_s if is_member else heard_s  # at the earliest
            now_s += answer_s
            lease.answered(0 if is_member else UNKNOWN_MEMBER, sent_s)
        assert not lease.is_held() or now_s - heard_s < SESSION_S
