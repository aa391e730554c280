"""Health: what each probe promises; time is a number."""

import pytest

from streamlabel.consumer.observability.health import MAX_LOOP_LAG_S, Health, ProbeResult

LIVE_AFTER_S = 900.0
GRACE_S = 15.0


@pytest.fixture
def health() -> Health:
    return Health(live_after_s=LIVE_AFTER_S, broker_grace_s=GRACE_S)


@pytest.fixture
def ready(health: Health) -> Health:
    health.model_loaded()
    health.assigned(4)
    return health


def failed(verdict: ProbeResult) -> list[str]:
    return [check.name for check in verdict.failed]


def test_nothing_is_up_before_the_model_is_loaded(health: Health) -> None:
    assert failed(health.startup()) == ["model"]
    assert failed(health.ready()) == ["model", "worker", "group"]


def test_a_loading_model_is_live(health: Health) -> None:
    """Restarting would only make it load again."""
    assert health.live(10_000.0).ok


def test_startup_holds_once_the_model_is_loaded(health: Health) -> None:
    health.model_loaded()
    assert health.startup().ok
    health.worker_changed(up=False)
    assert health.startup().ok


def test_ready_needs_an_assignment(health: Health) -> None:
    health.model_loaded()
    assert failed(health.ready()) == ["group"]
    health.assigned(4)
    assert health.ready().ok


def test_an_idle_member_of_the_group_is_ready(health: Health) -> None:
    health.model_loaded()
    health.assigned(0)
    assert health.ready().ok


def test_losing_the_assignment_is_not_ready_until_the_next(ready: Health) -> None:
    ready.left()
    assert failed(ready.ready()) == ["group"]
    ready.assigned(2)
    assert ready.ready().ok


def test_a_dead_worker_is_not_ready_until_it_answers(ready: Health) -> None:
    ready.worker_changed(up=False)
    assert failed(ready.ready()) == ["worker"]
    ready.worker_changed(up=True)
    assert ready.ready().ok


def test_a_dead_worker_alone_does_not_end_the_process(ready: Health) -> None:
    ready.worker_changed(up=False)
    assert ready.live(0.0).ok


def test_a_drain_is_not_ready_and_stays_so(ready: Health) -> None:
    ready.drain_started()
    assert failed(ready.ready()) == ["drain"]
    ready.assigned(4)
    assert failed(ready.ready()) == ["drain"]


def test_a_drain_is_live(ready: Health) -> None:
    ready.drain_started()
    assert ready.live(0.0).ok


def test_a_tripped_guard_is_not_ready_and_says_why(ready: Health) -> None:
    ready.guard_tripped("100 dead letters in a row")
    (check,) = ready.ready().failed
    assert (check.name, check.detail) == ("guard", "100 dead letters in a row")


@pytest.mark.parametrize(("after_s", "live"), [(899.9, True), (900.0, False), (900.1, False)])
def test_waiting_work_without_a_delivery_is_not_live(
    ready: Health, after_s: float, live: bool
) -> None:
    ready.work(waiting=True, now_s=100.0)
    assert ready.live(100.0 + after_s).ok is live


def test_idleness_is_live_however_long(ready: Health) -> None:
    ready.work(waiting=False, now_s=100.0)
    assert ready.live(1e9).ok


def test_the_wait_counts_from_when_work_arrived_not_from_the_last_delivery(ready: Health) -> None:
    ready.progressed(0.0)
    ready.work(waiting=True, now_s=5000.0)
    ready.work(waiting=True, now_s=5500.0)
    assert ready.stalled_s(5600.0) == 600.0


def test_a_delivery_starts_the_wait_again(ready: Health) -> None:
    ready.work(waiting=True, now_s=0.0)
    ready.progressed(800.0)
    assert ready.stalled_s(1000.0) == 200.0
    assert ready.live(1000.0).ok


def test_work_that_is_done_ends_the_wait(ready: Health) -> None:
    ready.work(waiting=True, now_s=0.0)
    ready.work(waiting=False, now_s=800.0)
    assert ready.stalled_s(10_000.0) == 0.0


def test_a_stall_heals_when_something_is_delivered(ready: Health) -> None:
    ready.work(waiting=True, now_s=0.0)
    assert not ready.live(2000.0).ok
    ready.progressed(2001.0)
    assert ready.live(2002.0).ok


@pytest.mark.parametrize(
    ("lag_s", "live"),
    [(MAX_LOOP_LAG_S - 0.1, True), (MAX_LOOP_LAG_S, False), (MAX_LOOP_LAG_S + 0.1, False)],
)
def test_a_late_event_loop_is_not_live(ready: Health, lag_s: float, live: bool) -> None:
    ready.loop_lagged(lag_s)
    assert ready.live(0.0).ok is live


def test_a_loop_that_recovered_is_live(ready: Health) -> None:
    ready.loop_lagged(60.0)
    ready.loop_lagged(0.0)
    assert ready.live(0.0).ok


@pytest.mark.parametrize(("down_s", "is_ready"), [(0.0, True), (14.9, True), (15.0, False)])
def test_an_outage_is_not_ready_after_the_grace_and_is_named(
    ready: Health, down_s: float, is_ready: bool
) -> None:
    ready.brokers(("consumer", "producer"), down_s)
    verdict = ready.ready()
    assert verdict.ok is is_ready
    [check] = [check for check in verdict.checks if check.name == "broker"]
    assert check.detail == f"no answer for consumer, producer for {down_s:.0f} s"


def test_brokers_that_are_back_are_ready_at_once(ready: Health) -> None:
    ready.brokers(("consumer",), 100.0)
    assert failed(ready.ready()) == ["broker"]
    ready.brokers((), 0.0)
    assert ready.ready().ok


def test_an_outage_is_neither_a_start_that_failed_nor_a_dead_process(ready: Health) -> None:
    ready.brokers(("consumer", "coordinator", "producer"), 600.0)
    assert ready.startup().ok
    assert ready.live(600.0).ok
