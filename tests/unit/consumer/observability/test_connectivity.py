"""Outages: begin once, end once, say how long; a short loss is none."""

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from streamlabel.consumer.core.ports import BrokerRole
from streamlabel.consumer.observability.connection_watch import watch_connections
from streamlabel.consumer.observability.connectivity import Connectivity, Restored
from streamlabel.consumer.observability.telemetry import PrometheusMetrics
from tests.doubles import ManualClock

UP: dict[BrokerRole, bool] = {"consumer": True, "coordinator": True, "producer": True}
DOWN: dict[BrokerRole, bool] = dict.fromkeys(UP, False)


def connected_at(now_s: float) -> Connectivity:
    state = Connectivity(now_s=0.0)
    assert state.saw(UP, now_s=now_s) is None
    return state


def test_before_the_first_connection_all_roles_are_down_and_nothing_is_said() -> None:
    state = Connectivity(now_s=100.0)
    assert state.down == ("consumer", "coordinator", "producer")
    assert [state.saw(DOWN, now_s=100.0 + second) for second in range(60)] == [None] * 60
    assert state.down_s(160.0) == 60.0


def test_an_outage_is_one_event_and_its_end_says_how_long_it_was() -> None:
    state = connected_at(0.0)
    said = [state.saw(DOWN, now_s=float(second)) for second in range(1, 21)]
    assert [change for change in said if change is not None] == [
        ("consumer", "coordinator", "producer")
    ]
    said = [state.saw(UP, now_s=float(second)) for second in range(21, 30)]
    [restored] = [change for change in said if change is not None]
    assert restored == Restored(("consumer", "coordinator", "producer"), 20.0)


def test_roles_that_go_and_come_one_after_another_are_one_outage() -> None:
    state = connected_at(0.0)
    seen: list[Mapping[BrokerRole, bool]] = [
        *[UP | {"producer": False}] * 8,
        *[DOWN] * 5,
        *[DOWN | {"consumer": True}] * 4,
        *[UP] * 1,  # for a moment
        *[UP | {"coordinator": False}] * 2,
        *[UP] * 5,
    ]
    said = [state.saw(each, now_s=float(second)) for second, each in enumerate(seen, start=1)]
    assert [type(change) for change in said if change is not None] == [tuple, Restored]


def test_a_leader_that_moves_is_no_outage() -> None:
    state = connected_at(0.0)
    for second in range(1, 5):
        assert state.saw(DOWN, now_s=float(second)) is None
    assert state.down_s(4.0) == 3.0
    assert state.saw(UP, now_s=5.0) is None
    assert state.down_s(5.0) == 0.0


def test_a_role_that_needs_no_broker_is_not_down() -> None:
    state = connected_at(0.0)
    state.saw(DOWN, now_s=1.0)
    state.saw({"consumer": True, "coordinator": True}, now_s=2.0)
    assert state.down == ()


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["consumer", "coordinator", "producer"]), st.booleans()),
        max_size=60,
    )
)
def test_losses_and_returns_alternate_and_no_loss_is_longer_than_time(
    seen: list[dict[BrokerRole, bool]],
) -> None:
    state = Connectivity(now_s=0.0)
    kinds = []
    for second, connected in enumerate(seen, start=1):
        change = state.saw(connected, now_s=float(second))
        assert 0.0 <= state.down_s(float(second)) <= second
        assert set(state.down) == {role for role, is_up in connected.items() if not is_up}
        if isinstance(change, Restored):
            assert 0 < change.lasted_s <= second
        if change is not None:
            kinds.append(type(change))
    assert kinds == [tuple, Restored] * (len(kinds) // 2) + [tuple] * (len(kinds) % 2)


class Port:
    """Brokers that a test switches on and off."""

    def __init__(self) -> None:
        self.seen: dict[BrokerRole, bool] = dict(DOWN)

    async def connections(self) -> Mapping[BrokerRole, bool]:
        """As the test says."""
        return self.seen


async def nothing_found() -> str | None:
    return None


async def test_why_an_outage_began_is_asked_once_and_holds_nothing_up() -> None:
    port, clock = Port(), ManualClock()
    told: list[tuple[BrokerRole, ...]] = []
    asked = 0

    async def never_found() -> str | None:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()
        return None

    watching = asyncio.ensure_future(
        watch_connections(
            [port],
            clock=clock,
            metrics=PrometheusMetrics(CollectorRegistry()),
            seen=lambda down, _: told.append(down),
            cause=never_found,
        )
    )
    try:
        port.seen = dict(UP)
        await clock.advance(2.0)
        port.seen = dict(DOWN)
        await clock.advance(60.0)
        assert asked == 1
        port.seen = dict(UP)
        await clock.advance(1.0)
        assert told[-1] == ()
    finally:
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching


@pytest.mark.parametrize("role", sorted(UP))
async def test_the_gauge_and_readiness_follow_within_a_second(role: BrokerRole) -> None:
    port, clock, registry = Port(), ManualClock(), CollectorRegistry()
    told: list[tuple[tuple[BrokerRole, ...], float]] = []
    watching = asyncio.ensure_future(
        watch_connections(
            [port, object()],
            clock=clock,
            metrics=PrometheusMetrics(registry),
            seen=lambda down, down_s: told.append((down, down_s)),
            cause=nothing_found,
        )
    )

    def gauge() -> float | None:
        return registry.get_sample_value("streamlabel_kafka_connected", {"role": role})

    try:
        await clock.advance(1.0)
        assert gauge() == 0.0
        port.seen = dict(UP)
        await clock.advance(1.0)
        assert (gauge(), told[-1]) == (1.0, ((), 0.0))
        port.seen = UP | {role: False}
        await clock.advance(4.0)
        assert (gauge(), told[-1]) == (0.0, ((role,), 3.0))
        port.seen = {}
        await clock.advance(1.0)
        assert gauge() is None
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
